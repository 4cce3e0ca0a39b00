"""A text as a model with its head gets it: ids, and the tokens that a person reads."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lmstudio_app.errors import UserError
from lmstudio_app.inspection.attention import AttentionRequest
from lmstudio_app.inspection.tokens import Tokens, encode_text, position_limit
from lmstudio_app.jobs import JobContext
from lmstudio_app.tasks.chat_templates import TemplateRefused, ensure_chat_template, prepare_messages, render
from lmstudio_app.tasks.streaming import token_text, whole_characters

if TYPE_CHECKING:
    import torch

    from lmstudio_app.models.loading import LoadedModel

LONGEST_WRITTEN = 200  # tokens that a model writes by itself when it is not told what it has written


@dataclass(frozen=True)
class InputText:
    """``messages`` is a chat, laid out by the model's own template, in the place of ``text``.

    ``target`` is what an encoder-decoder has written; None: it writes it itself, always the likeliest token.
    """

    text: str = ""
    pair: str | None = None
    target: str | None = None
    messages: tuple[Mapping[str, str], ...] = ()


def input_of(request: AttentionRequest) -> InputText:
    """What a request for attention gives to the model."""
    target, messages = getattr(request, "target", None), getattr(request, "messages", ())
    return InputText(request.text, request.pair, target, tuple(messages))


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
    pair = whole_characters(given.pair) if given.pair else None
    encoded = encode_text(model, tokenizer, _text_of(tokenizer, given), pair)
    if encoded.dropped:
        ctx.warn(
            "The text is too long for the model: the first {kept} tokens are read, {dropped} are left out.",
            kept=len(encoded.tokens),
            dropped=encoded.dropped,
        )
    parameters = inspect.signature(model.forward).parameters
    tensors = {name: value.to(loaded.device) for name, value in encoded.inputs.items() if name in parameters}
    if not getattr(model.config, "type_vocab_size", 0):
        tensors.pop("token_type_ids", None)  # GPT-2 would add the words of these numbers
    options = {"use_cache": False} if "use_cache" in parameters else {}
    tokens, ids = encoded.tokens, encoded.inputs["input_ids"][0].tolist()
    source = len(ids)
    if loaded.head == "seq2seq-lm":
        target = _target_ids(loaded, given, tensors, ctx)
        tensors["decoder_input_ids"] = _tensor(target[:-1], tensors["input_ids"])
        tokens, ids = joined(tokens, target_tokens(tokenizer, target)), [*ids, *target]
    return ModelInput(
        tensors, tokens, tuple(ids), source, frozenset(tokenizer.all_special_ids), encoded.dropped, options
    )


def _text_of(tokenizer: Any, given: InputText) -> str:
    if not given.messages:
        return whole_characters(given.text)
    ensure_chat_template(tokenizer)
    try:
        text = render(tokenizer, prepare_messages(given.messages), prompt=True)
    except TemplateRefused as error:
        raise UserError(
            "The chat template of this model refuses the messages ({reason}).",
            "Let the roles alternate: user, assistant, user.",
            reason=str(error)[:200],
        ) from error
    begins = tokenizer.bos_token
    if begins and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]:
        text = text.removeprefix(begins)  # the tokenizer puts it there again
    return text


def _tensor(ids: Sequence[int], like: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.tensor([list(ids)], dtype=like.dtype, device=like.device)


def _target_ids(
    loaded: LoadedModel, given: InputText, tensors: Mapping[str, torch.Tensor], ctx: JobContext
) -> list[int]:
    """The ids of a target with the token that it begins with, and the one that ends it."""
    from lmstudio_app.models.generation import interruptible

    config = loaded.model.generation_config
    first = config.decoder_start_token_id
    if first is None:
        first = loaded.model.config.decoder_start_token_id
    if first is None:
        raise UserError(
            "The configuration of {model} does not say which token a text begins with.",
            "Add decoder_start_token_id to its config.json.",
            model=loaded.reference,
        )
    limit = min(LONGEST_WRITTEN, position_limit(loaded.model, loaded.tokenizer) or LONGEST_WRITTEN)
    if given.target is not None:
        written = loaded.tokenizer(text_target=whole_characters(given.target), truncation=True, max_length=limit - 1)
        return [int(first), *written["input_ids"]]
    ctx.status("The model writes its answer")
    with interruptible(loaded.model, ctx):
        written = loaded.model.generate(**tensors, num_beams=1, do_sample=False, max_new_tokens=limit - 2)
    found: list[int] = written[0].tolist()
    return found


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
