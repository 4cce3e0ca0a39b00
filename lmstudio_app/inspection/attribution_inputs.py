"""A text as a model with its head gets it: ids, and the tokens that a person reads."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lmstudio_app.inspection.attention import AttentionRequest
from lmstudio_app.inspection.sources import encode_source
from lmstudio_app.inspection.targets import choose_languages, encode_target, require_languages, write_target
from lmstudio_app.inspection.tokens import Tokens
from lmstudio_app.jobs import JobContext
from lmstudio_app.tasks.streaming import token_text

if TYPE_CHECKING:
    import torch

    from lmstudio_app.models.loading import LoadedModel


@dataclass(frozen=True)
class InputText:
    """``messages`` is a chat, laid out by the model's own template, in the place of ``text``.

    ``target`` is what an encoder-decoder has written; None: it writes it itself, always the likeliest token.
    """

    text: str = ""
    pair: str | None = None
    target: str | None = None
    messages: tuple[Mapping[str, str], ...] = ()
    source_language: str = ""
    target_language: str = ""


def input_of(request: AttentionRequest) -> InputText:
    """What a request for attention gives to the model."""
    return InputText(
        request.text,
        request.pair,
        request.target,
        request.messages,
        request.source_language,
        request.target_language,
    )


@dataclass(frozen=True, eq=False)
class ModelInput:
    """``tensors`` are a batch of 1 on the model's device.

    ``tokens`` are those of the source and then, for an encoder-decoder, the token that begins a target and the target:
    ``source`` is how many belong to the source, ``ids`` has all their numbers.
    """

    tensors: Mapping[str, torch.Tensor]
    tokens: Tokens
    ids: tuple[int, ...]
    source: int
    special_ids: frozenset[int]
    dropped: int
    options: Mapping[str, Any] = field(default_factory=dict)  # of the forward pass

    @property
    def has_target(self) -> bool:
        return self.source < len(self.ids)

    def is_hidden(self, seen: int, *, keep_first: bool = False) -> list[bool]:
        """Of the first ``seen`` tokens: which carry text, and are hidden in the baseline.

        ``keep_first`` is for decoders. Their heads rest on the first token, whatever it is (Xiao et al. 2023,
        "Efficient Streaming Language Models with Attention Sinks"); without it they say something meaningless, and the
        integral over the way there does not settle.
        """
        flags = zip(self.tokens.special[:seen], self.ids[:seen], strict=True)
        hidden = [not special and number not in self.special_ids for special, number in flags]
        return [False, *hidden[1:]] if keep_first else hidden

    def cut(self, seen: int) -> ModelInput:
        """Without the tokens that come later, in a text that is read from left to right."""
        name = "decoder_input_ids" if self.has_target else "input_ids"
        keep = seen - self.source if self.has_target else seen
        tensors = dict(self.tensors)
        for key in (name,) if self.has_target else ("input_ids", "attention_mask"):
            if key in tensors:
                tensors[key] = tensors[key][:, :keep]
        return replace(self, tensors=tensors)


def encode_input(loaded: LoadedModel, given: InputText, ctx: JobContext) -> ModelInput:
    """Tokenise, and let an encoder-decoder write its target where there is none.

    What does not fit the model is cut, with a warning. Raises :class:`UserError` when there is nothing to read.
    """
    model, tokenizer = loaded.model, loaded.tokenizer
    languages = choose_languages(loaded, given.source_language, given.target_language, ctx)
    encoded = encode_source(model, tokenizer, given, languages)
    if encoded.dropped:
        ctx.warn(
            "The text is too long for the model: the first {kept} tokens are read, {dropped} are left out.",
            kept=len(encoded.tokens),
            dropped=encoded.dropped,
        )
    parameters = inspect.signature(model.forward).parameters
    tensors = {name: value.to(loaded.device) for name, value in encoded.inputs.items() if name in parameters}
    options = {"use_cache": False} if "use_cache" in parameters else {}
    tokens, ids = encoded.tokens, encoded.inputs["input_ids"][0].tolist()
    source = len(ids)
    if loaded.head == "seq2seq-lm":
        require_languages(loaded, languages)
        if given.target is None:
            written = write_target(loaded, tensors, languages, ctx)
        else:
            written = encode_target(loaded, given.target, languages)
        target = [*written.ids, *written.last]
        tensors["decoder_input_ids"] = _tensor(target[:-1], tensors["input_ids"])
        tokens, ids = joined(tokens, target_tokens(tokenizer, target)), [*ids, *target]
    return ModelInput(
        tensors, tokens, tuple(ids), source, frozenset(tokenizer.all_special_ids), encoded.dropped, options
    )


def _tensor(ids: Sequence[int], like: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.tensor([list(ids)], dtype=like.dtype, device=like.device)


def target_tokens(tokenizer: Any, ids: Sequence[int]) -> Tokens:
    """What a decoder has written, as tokens of the second text."""
    special_ids = set(tokenizer.all_special_ids)
    special = tuple(index == 0 or number in special_ids for index, number in enumerate(ids))
    spelt = tuple(str(token) for token in tokenizer.convert_ids_to_tokens(list(ids)))
    labels = tuple(
        token if flag else (token_text(tokenizer, number).strip() or token)
        for token, flag, number in zip(spelt, special, ids, strict=True)
    )
    return Tokens(spelt, labels, special, tuple(None if flag else 1 for flag in special))


def joined(first: Tokens, second: Tokens) -> Tokens:
    """Both, one behind the other."""
    return Tokens(
        first.tokens + second.tokens,
        first.labels + second.labels,
        first.special + second.special,
        first.segments + second.segments,
        first.words + second.words,
        first.spans + second.spans,
    )
