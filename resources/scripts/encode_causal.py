"""Causal language modelling."""

import itertools

from script import MAX_LENGTH, tokenizer


# --- script
def encode(rows):
    """Blocks of MAX_LENGTH tokens out of one stream of documents, each ended by the end-of-text token."""
    stream = []
    for _, document in itertools.groupby(rows, key=lambda row: row["document"]):
        text = "\n".join(row["text"] for row in document)
        stream += [*tokenizer(text, verbose=False)["input_ids"], tokenizer.eos_token_id]
    blocks = [stream[start : start + MAX_LENGTH] for start in range(0, len(stream), MAX_LENGTH)]
    return [{"input_ids": block} for block in blocks if len(block) > 1]
