"""Translation and summarisation."""

from script import LABEL_SMOOTHING, model
from torch.nn import functional


# --- script
def loss_of(batch, label_smoothing=LABEL_SMOOTHING):
    """Cross-entropy with label smoothing (Szegedy et al. 2016), a mean over the tokens of the targets."""
    logits, labels = model(**batch, use_cache=False).logits.float(), batch["labels"]
    return functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), label_smoothing=label_smoothing)


def items_of(batch):
    return int((batch["labels"] != -100).sum())
