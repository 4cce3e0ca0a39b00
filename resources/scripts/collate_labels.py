"""Classification."""

import torch
from script import pad, tokenizer


# --- script
def collate(examples):
    return {
        "input_ids": pad([example["input_ids"] for example in examples], tokenizer.pad_token_id),
        "attention_mask": pad([[1] * len(example["input_ids"]) for example in examples], 0),
        #: if token_types
        "token_type_ids": pad([example["token_type_ids"] for example in examples], 0),
        #: end
        "labels": torch.tensor([example["labels"] for example in examples]),
    }
