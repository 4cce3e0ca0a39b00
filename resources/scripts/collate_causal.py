"""Causal language modelling."""

from script import pad, tokenizer


# --- script
def collate(examples):
    sequences = [example["input_ids"] for example in examples]
    return {
        "input_ids": pad(sequences, tokenizer.pad_token_id),
        "attention_mask": pad([[1] * len(ids) for ids in sequences], 0),
        "labels": pad(sequences, -100),  # -100 counts in no loss
    }
