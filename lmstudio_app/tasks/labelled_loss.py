"""The loss of a causal language model at the labelled positions alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lmstudio_app.tasks.task import IGNORED, Inputs

if TYPE_CHECKING:
    import torch


def labelled_loss(model: Any, inputs: Inputs) -> torch.Tensor:
    """-log P(label | the tokens before it), a mean over the labels that count. It equals the model's own loss."""
    from torch.nn import functional

    return functional.cross_entropy(*labelled_logits(model, inputs))


def labelled_logits(model: Any, inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
    """What predicts the labels that count, and these labels: float32 ``[count, vocabulary]`` and int64 ``[count]``.

    ``labels`` of the inputs are ``[batch, tokens]`` in the place of the token they name; those that are
    :data:`IGNORED` and those of the first token do not count. The logits, which have a number for every token of the
    vocabulary and are most of the memory of a small model, are made only where a label counts: the last layer is
    handed the hidden states of these positions, within the model's own ``forward``.
    """
    import torch

    arguments: dict[str, Any] = dict(inputs)
    labels = arguments.pop("labels")
    counts = labels[:, 1:] != IGNORED
    kept = torch.nn.functional.pad(counts, (0, 1))  # each position predicts the token behind it
    plain = model
    while hasattr(plain, "module"):  # as it is wrapped for several processes
        plain = plain.module
    if hasattr(plain.config, "use_cache"):
        arguments["use_cache"] = False

    def _select(_: Any, given: tuple[Any, ...]) -> Any:
        hidden, *others = given
        return (hidden[kept], *others) if hidden.shape[:2] == kept.shape else None

    head = plain.get_output_embeddings()
    handle = head.register_forward_pre_hook(_select) if head is not None else None
    try:
        logits = model(**arguments).logits
    finally:
        if handle is not None:
            handle.remove()
    if logits.ndim == 3:  # this model does not call its last layer as a module
        logits = logits[kept]
    return logits.float(), labels[:, 1:][counts]


def count_targets(inputs: Inputs) -> int:
    """What that mean is over."""
    return int((inputs["labels"][:, 1:] != IGNORED).sum())
