"""Chat, translation, summarisation."""

from script import PADDING, pad


# --- script
def collate(examples):
    return {
        "input_ids": pad([example["input_ids"] for example in examples], PADDING),
        "attention_mask": pad([[1] * len(example["input_ids"]) for example in examples], 0),
        "labels": pad([example["labels"] for example in examples], -100),  # -100 counts in no loss
    }
