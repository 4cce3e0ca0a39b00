"""Question answering."""

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
        "start_positions": torch.tensor([example["start_positions"] for example in examples]),
        "end_positions": torch.tensor([example["end_positions"] for example in examples]),
    }
