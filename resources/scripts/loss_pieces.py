"""BERT pretraining."""

from script import model
from torch.nn import functional


# --- script
def loss_of(batch):
    """-log P(hidden token | the rest), a mean over these, plus -log P(B follows A), a mean over the pairs."""
    labels, follows = batch.pop("labels"), batch.pop("next_sentence_label")
    output = model(**batch)
    hidden = labels != -100
    return functional.cross_entropy(
        output.prediction_logits[hidden].float(), labels[hidden]
    ) + functional.cross_entropy(output.seq_relationship_logits.float(), follows)


def items_of(batch):
    return len(batch["input_ids"])
