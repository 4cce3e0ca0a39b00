"""How a model writes text token by token: its settings, and how it is stopped within the time of one layer."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmstudio_app.jobs import JobContext
from lmstudio_app.options import check_options, option

if TYPE_CHECKING:
    import torch

    from lmstudio_app.models.loading import LoadedModel


@dataclass(frozen=True)
class DecodingOptions:
    """How a text is written, token by token."""

    beams: int = option(
        4,
        "Beams",
        "Beginnings that are followed at once, of which the most probable whole text is taken; 1: only the best token.",
        basic=True,
        minimum=1,
        maximum=64,
    )
    max_new_tokens: int = option(
        256, "Longest output", "A text ends after this many tokens at the latest.",
        basic=True, minimum=1, maximum=100_000,
    )  # fmt: skip
    min_new_tokens: int = option(0, "Shortest output", "Tokens that a text has at least.", minimum=0, maximum=100_000)
    no_repeat_ngram: int = option(
        0, "No repeats of", "This many tokens in a row never occur twice in a text; 0: as the model has it.",
        minimum=0, maximum=100,
    )  # fmt: skip
    sample: bool = option(
        False, "Sample", "Draw each token at random by its probability, for texts that vary; beams mean nothing then."
    )
    temperature: float = option(
        1.0, "Temperature", "Below 1 sampling keeps to the probable, above it dares more.", minimum=0.01, maximum=10.0
    )
    top_k: int = option(0, "Top k", "Sampling looks at this many tokens only; 0: at all.", minimum=0, maximum=1_000_000)
    top_p: float = option(
        1.0, "Top p", "Sampling looks at the most probable tokens that make up this share.", minimum=0.01, maximum=1.0
    )
    seed: int = option(0, "Seed", "Sampling with the same seed draws the same texts again.", minimum=0, maximum=2**31)

    def __post_init__(self) -> None:
        check_options(self, "options")


def generate_behind(
    loaded: LoadedModel,
    prompts: Sequence[Sequence[int]],
    *,
    pad: int,
    ends: Sequence[int],
    max_new_tokens: int,
    processors: Callable[[torch.Tensor], list[Any]],
    stopping: Callable[..., torch.Tensor],
) -> list[list[int]]:
    """The tokens that a causal model writes behind each prompt, padded to the longest of them.

    Which token is taken is up to ``processors`` alone, which are made for the attention mask of the prompts
    (``[prompts, width]``, padded at the left): whatever the model's own settings say about it is off.
    """
    import torch
    from transformers import GenerationConfig

    rows, width = len(prompts), max(len(prompt) for prompt in prompts)
    ids, mask = torch.full((rows, width), pad), torch.zeros((rows, width), dtype=torch.int64)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.as_tensor(list(prompt))
        mask[row, width - len(prompt) :] = 1
    ids, mask = ids.to(loaded.device), mask.to(loaded.device)
    written: list[list[int]] = loaded.model.generate(
        input_ids=ids,
        attention_mask=mask,
        generation_config=GenerationConfig(
            do_sample=False,
            num_beams=1,
            temperature=1.0,
            top_p=1.0,
            top_k=50,
            repetition_penalty=1.0,
            max_new_tokens=max_new_tokens,
            eos_token_id=list(ends) or None,
            pad_token_id=pad,
        ),
        logits_processor=processors(mask),
        stopping_criteria=[stopping],
    )[:, width:].tolist()
    return written


def stopping_criterion(ctx: JobContext, *, ends_early: bool = False) -> Callable[..., torch.Tensor]:
    """What ``generate(stopping_criteria=[…])`` asks after every token.

    It waits while paused and raises :class:`lmstudio_app.errors.Cancelled` when cancelled. With ``ends_early`` a stop
    ends the texts where they are, as a chat wants it; without, a stop lets them be finished.
    """
    import torch

    def _ask(input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        ctx.check()
        return torch.full((len(input_ids),), ends_early and ctx.stopping, dtype=torch.bool, device=input_ids.device)

    return _ask


@contextlib.contextmanager
def interruptible(model: Any, ctx: JobContext) -> Iterator[None]:
    """Let ``ctx.check()`` be asked before every layer: a pass over long texts can take seconds, and a stop must not.

    A cancelled job raises :class:`lmstudio_app.errors.Cancelled` out of the model's ``forward``, or out of the backward
    pass where there is one. Only this thread's passes are asked: pages share their models.
    """
    import torch

    mine = threading.get_ident()

    def _ask(_: Any, given: tuple[Any, ...]) -> None:
        if threading.get_ident() == mine:
            ctx.check()
            if given and isinstance(given[0], torch.Tensor) and given[0].requires_grad:
                given[0].register_hook(lambda gradient: ctx.check())  # type: ignore[no-untyped-call]

    layers = [layer for module in model.modules() if isinstance(module, torch.nn.ModuleList) for layer in module]
    hooks = [layer.register_forward_pre_hook(_ask) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
