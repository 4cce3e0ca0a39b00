"""Masked language modelling."""

from script import model
from torch.nn import functional


# --- script
def loss_of(batch):
    """-log P(hidden token | the rest), a mean over the hidden tokens."""
    labels = batch["labels"]
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    return functional.cross_entropy(logits[labels != -100].float(), labels[labels != -100])


def items_of(batch):
    return int((batch["labels"] != -100).sum())
