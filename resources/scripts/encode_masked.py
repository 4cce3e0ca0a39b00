"""Masked language modelling."""

import itertools

import numpy as np
from script import MAX_LENGTH, tokenizer


# --- script
def encode(rows):
    """Each document cut evenly into blocks of at most MAX_LENGTH tokens; none goes beyond its document."""
    examples = []
    for _, document in itertools.groupby(rows, key=lambda row: row["document"]):
        texts = [row["text"] if index == 0 else f" {row['text']}" for index, row in enumerate(document)]
        tokens = [t for ids in tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"] for t in ids]
        blocks = np.array_split(np.array(tokens, dtype=int), -(-len(tokens) // (MAX_LENGTH - 2))) if tokens else []
        examples += [{"input_ids": [tokenizer.cls_token_id, *ids.tolist(), tokenizer.sep_token_id]} for ids in blocks]
    return examples
