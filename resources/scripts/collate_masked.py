"""Masked language modelling."""

from script import mask, pad, tokenizer


# --- script
def collate(examples, random):
    batch = {
        "input_ids": pad([example["input_ids"] for example in examples], tokenizer.pad_token_id),
        "attention_mask": pad([[1] * len(example["input_ids"]) for example in examples], 0),
    }
    return mask(batch, random)
