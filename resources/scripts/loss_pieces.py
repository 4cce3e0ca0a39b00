"""BERT pretraining."""

from script import HEAD, model
from torch.nn import functional


# --- script
def loss_of(batch):
    """-log P(hidden token | the rest), a mean over these, plus -log P(B follows A), a mean over the pairs."""
    labels, follows = batch.pop("labels"), batch.pop("next_sentence_label")
    is_hidden = labels != -100
    #: if has_head
    # the head, which has a number for every token of the vocabulary, only where a token is hidden
    hook = model.get_submodule(HEAD).register_forward_pre_hook(lambda _, inputs: (inputs[0][is_hidden],))
    output = model(**batch)
    hook.remove()
    masked = functional.cross_entropy(output.prediction_logits.float(), labels[is_hidden])
    #: else
    output = model(**batch)
    masked = functional.cross_entropy(output.prediction_logits[is_hidden].float(), labels[is_hidden])
    #: end
    return masked + functional.cross_entropy(output.seq_relationship_logits.float(), follows)


def items_of(batch):
    return len(batch["input_ids"])
