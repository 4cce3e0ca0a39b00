"""What an encoder-decoder model has written, or is to write: the tokens along the axis of its decoder."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmstudio_app.errors import UserError
from lmstudio_app.inspection.tokens import Tokens, number_words, position_limit
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.generation import interruptible
from lmstudio_app.models.quiet import quiet_transformers
from lmstudio_app.tasks.alignment import token_spans
from lmstudio_app.tasks.streaming import token_text, whole_characters
from lmstudio_app.tasks.writing import decoder_start

if TYPE_CHECKING:
    import torch

    from lmstudio_app.tasks.translation_direction import Direction

LONGEST_WRITTEN = 128  # tokens that a model writes by itself when it is not told what it has written
START = "<start>"  # what a person reads for the token before the first one, which models spell <pad>, </s> or <s>


@dataclass(frozen=True)
class Languages:
    """How a model is told what to translate into what; both are empty where there is nothing to tell."""

    direction: Direction | None = None
    target: str = ""

    @property
    def lead(self) -> str:
        """What it wants to have in front of the source."""
        return self.direction.lead(self.target) if self.direction is not None else ""

    @property
    def prefix(self) -> tuple[int, ...]:
        """The tokens that the decoder is made to begin with."""
        return self.direction.decoder_prefix(self.target) if self.direction is not None and self.target else ()

    def told(self, target: str = "") -> contextlib.AbstractContextManager[None]:
        """The tokenizer as it reads the source, or a text in the language ``target``."""
        return self.direction.telling(target) if self.direction is not None else contextlib.nullcontext()


@dataclass(frozen=True)
class Written:
    """``ids`` are what goes into the decoder: the token that it begins with, and all but the last of what it writes.

    ``writes`` is what the model writes at each of them, for people; ``last`` has the number of the last of these, where
    there is one. ``text`` is the target; ``tokens.spans`` are places in it. ``dropped`` counts what did not fit.
    """

    ids: tuple[int, ...]
    tokens: Tokens
    writes: tuple[str, ...]
    text: str
    last: tuple[int, ...]
    dropped: int = 0


def choose_languages(loaded: Any, source: str, target: str, ctx: JobContext) -> Languages:
    """The languages of a model that translates, as it and its training declare them.

    Of several that it may translate into, the first is taken where none is said, with a warning. Raises
    :class:`UserError` for languages that the model does not have.
    """
    if getattr(loaded, "head", "") != "seq2seq-lm":
        return Languages()
    from lmstudio_app.tasks.translators import EncoderDecoderTranslator, TranslateOptions

    translator = EncoderDecoderTranslator(loaded, TranslateOptions(source_language=source, target_language=target))
    direction, target = translator.direction, translator.target
    known = sorted(direction.languages.tokens)
    if not target and known and not direction.begins_decoder and direction.language_token:
        target = known[0]
        if len(known) > 1:
            ctx.warn(
                "The model translates into several languages ({languages}); {language} is taken.",
                languages=", ".join(known),
                language=target,
            )
    return Languages(direction, target)


def require_languages(loaded: Any, languages: Languages) -> None:
    """Raises :class:`UserError` when the decoder has to begin with a language, and does not know which."""
    direction = languages.direction
    if direction is None or languages.target or not direction.begins_decoder:
        return
    if loaded.model.generation_config.forced_bos_token_id is None:
        raise UserError(
            "The model translates into several languages: {languages}.",
            "Set target_language to one of them, and source_language to that of the text.",
            languages=", ".join(sorted(direction.languages.tokens)),
        )


def encode_target(loaded: Any, target: str, languages: Languages) -> Written:
    """A target that is given, as the decoder would have written it."""
    tokenizer, target = loaded.tokenizer, whole_characters(target)
    with languages.told(languages.target):
        ids = list(tokenizer(text_target=target, verbose=False)["input_ids"])
    end = tokenizer.eos_token_id
    if end is not None and ids[-1:] == [end]:
        ids.pop()
    limit = (position_limit(loaded.model, tokenizer) or len(ids) + 1) - 1
    dropped = max(0, len(ids) - limit)
    kept = [decoder_start(loaded.model), *ids[:limit]]
    following = [*ids[: limit + 1], *([end] if end is not None and not dropped else [])]
    return _written(tokenizer, kept, following, target, dropped)


def write_target(loaded: Any, inputs: Mapping[str, torch.Tensor], languages: Languages, ctx: JobContext) -> Written:
    """Let the model write, always the likeliest token; ``inputs`` are the source, on the model's device.

    Raises :class:`UserError` for a model that has no head to write with.
    """
    import torch

    model, tokenizer = loaded.model, loaded.tokenizer
    if not model.can_generate():
        raise UserError(
            "This model does not write, so there is nothing that its decoder could be seen to do.",
            "Give a target text, or choose a model that translates or summarises.",
        )
    limit = position_limit(model, tokenizer) or LONGEST_WRITTEN
    begun = [decoder_start(model), *languages.prefix]
    arguments: dict[str, Any] = dict(inputs)
    if languages.prefix:
        arguments |= {
            "decoder_input_ids": torch.tensor([begun], device=inputs["input_ids"].device),
            "forced_bos_token_id": None,  # the prefix says the same
        }
    ctx.status("The model writes its answer")
    training = [module for module in model.modules() if module.training]
    try:
        model.eval()
        with quiet_transformers(), torch.no_grad(), interruptible(model, ctx):
            found = model.generate(
                **arguments,
                num_beams=1,
                do_sample=False,
                max_new_tokens=max(1, min(LONGEST_WRITTEN, limit - len(begun))),
            )
    finally:
        for module in training:
            module.training = True
    ids: list[int] = found[0].tolist()
    text = tokenizer.decode(ids[1:], skip_special_tokens=True).strip()
    return _written(tokenizer, ids[:-1], ids[1:], text, 0)


def _written(tokenizer: Any, ids: Sequence[int], following: Sequence[int], text: str, dropped: int) -> Written:
    """``following`` is what is written at each of ``ids``; of the last it may not be known."""
    specials = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    special = (True, *(number in specials for number in ids[1:]))
    found = (None, *token_spans(tokenizer, ids[1:], text))
    spans = tuple(None if flag else span for flag, span in zip(special, found, strict=True))
    segments = tuple(None if flag else 0 for flag in special)
    tokens = tuple(str(token) for token in tokenizer.convert_ids_to_tokens(list(ids)))
    labels = (START, *(_label(tokenizer, *pair, text) for pair in zip(ids[1:], spans[1:], strict=True)))
    last = tuple(_label(tokenizer, number, None, text) for number in following[len(ids) - 1 :])
    words = number_words((text,), segments, spans)
    axis = Tokens(tokens, labels, special, segments, words, spans)
    return Written(tuple(ids), axis, (*labels[1:], *last), text, tuple(following[len(ids) - 1 :]), dropped)


def _label(tokenizer: Any, number: int, span: tuple[int, int] | None, text: str) -> str:
    label = token_text(tokenizer, number).strip()
    if label and "\ufffd" not in label:
        return label
    # white space, or a part of a character
    return (text[span[0] : span[1]] if span else "") or str(tokenizer.convert_ids_to_tokens(number))
