"""Masked language modelling."""

from script import HEAD, model
from torch.nn import functional


# --- script
def loss_of(batch):
    """-log P(hidden token | the rest), a mean over the hidden tokens."""
    is_hidden = batch["labels"] != -100
    #: if has_head
    # the head, which has a number for every token of the vocabulary, only where a token is hidden
    hook = model.get_submodule(HEAD).register_forward_pre_hook(lambda _, inputs: (inputs[0][is_hidden],))
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    hook.remove()
    #: else
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[is_hidden]
    #: end
    return functional.cross_entropy(logits.float(), batch["labels"][is_hidden])


def items_of(batch):
    return int((batch["labels"] != -100).sum())
