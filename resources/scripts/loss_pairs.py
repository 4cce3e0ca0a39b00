"""Translation and summarisation."""

from script import model


# --- script
def loss_of(batch):
    """-log P(token | source, the tokens before it), a mean over the tokens of the targets."""
    return model(**batch, use_cache=False).loss


def items_of(batch):
    return int((batch["labels"] != -100).sum())
