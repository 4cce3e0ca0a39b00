"""Chat."""

from script import model
from torch.nn import functional


# --- script
def loss_of(batch):
    """-log P(token | the tokens before it), a mean over the tokens that are learned."""
    learned = batch["labels"][:, 1:] != -100
    before = functional.pad(learned, (0, 1))  # each position predicts the token behind it
    #: if has_head
    # the last layer, which has a number for every token of the vocabulary, only where it counts
    hook = model.get_output_embeddings().register_forward_pre_hook(lambda _, inputs: (inputs[0][before],))
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False).logits
    hook.remove()
    #: else
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[before]
    #: end
    return functional.cross_entropy(logits.float(), batch["labels"][:, 1:][learned])


def items_of(batch):
    return int((batch["labels"][:, 1:] != -100).sum())
