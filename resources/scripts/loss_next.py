"""Causal language modelling."""

from script import model
from torch.nn import functional


# --- script
def loss_of(batch):
    """-log P(token | the tokens before it), a mean over the tokens."""
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    return functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), batch["labels"][:, 1:].flatten())


def items_of(batch):
    return int((batch["labels"][:, 1:] != -100).sum())
