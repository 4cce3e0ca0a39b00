"""The model's own loss, a mean over rows."""

from script import model


# --- script
def loss_of(batch):
    #: if questions
    """-(log P(start) + log P(end)) / 2, a mean over the windows."""
    #: else
    """Cross-entropy, -log P(label), a mean over the rows."""
    #: end
    return model(**batch).loss


def items_of(batch):
    return len(batch["input_ids"])
