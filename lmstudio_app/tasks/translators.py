"""What translates sentences: an encoder-decoder that was trained for it, or a chat model that is told to."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.language_names import LANGUAGE_NAMES
from lmstudio_app.models.languages import check_language
from lmstudio_app.models.provenance import read_provenance
from lmstudio_app.options import option
from lmstudio_app.tasks.alignment import Alignment, align, can_align
from lmstudio_app.tasks.chat_templates import TemplateRefused, encode_prompt
from lmstudio_app.tasks.instructed_writing import Ask, Manner, Written, write_behind
from lmstudio_app.tasks.seq2seq import WriteOptions, trained_options
from lmstudio_app.tasks.streaming import longest_text
from lmstudio_app.tasks.translation_direction import (
    Direction,
    Offer,
    choose_languages,
    customary_prefix,
    offered_languages,
)
from lmstudio_app.tasks.writing import Hypothesis, require_writer, write_hypotheses

if TYPE_CHECKING:
    from lmstudio_app.models.loading import LoadedModel

# A translation has at most so many times the tokens of its source (Marian's --max-length-factor), so that a model that
# has learned little yet does not write on and on.
LONGEST_RATIO = 3.0
_NO_LIMIT = 10**9  # tokens, where it is asked how many a text has
_ROOM = 32  # tokens that a reply may always have
_DRAWN = 0.8  # temperature of a chat model's other translations

Done = Callable[[int, list[Hypothesis]], object]


@dataclass(frozen=True)
class TranslationManner(WriteOptions):
    """How translations are written."""

    batch_size: int = option(128, "Batch size", "Sentences that go through the model at once.", minimum=1, maximum=4096)
    by_sentence: bool = option(
        True, "By sentence", "Translate each sentence by itself, as most models have learned it; off: whole texts."
    )


@dataclass(frozen=True)
class TranslateOptions(TranslationManner):
    """What a translation can be told. Languages are ISO 639-1 codes; empty: as the model was trained."""

    source_language: str = option("", "From", "Language of the texts, such as en.", basic=True)
    target_language: str = option("", "Into", "Language of the translations, such as zh.", basic=True)
    alternatives: int = option(
        0, "Alternatives", "Write so many translations of each sentence, the most probable first.",
        minimum=0, maximum=64,
    )  # fmt: skip
    alignment: bool = option(
        False, "Alignment", "Write for each sentence which words of it each word of the translation comes from."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for code in (self.source_language, self.target_language):
            if code:
                check_language(code)


class Translator(Protocol):
    """A model that translates sentences from one language."""

    offer: Offer
    target: str  # the language to translate into where nothing else is said

    def too_long(self, texts: Sequence[str], target: str) -> list[bool]:
        """Which of the texts the model cannot read at once."""

    def write(
        self, texts: Sequence[str], targets: Sequence[str], ctx: JobContext, done: Done | None = None, *, count: int = 1
    ) -> list[list[Hypothesis]]:
        """The best translations of each text, at most ``count``; ``done`` is told of each as soon as it is there."""

    def align(
        self, pairs: Sequence[tuple[str, str]], targets: Sequence[str], ctx: JobContext
    ) -> list[Alignment | None]:
        """Which words belong together in each pair of a text and its translation; None where the model cannot say."""


def make_translator(loaded: LoadedModel, options: TranslateOptions) -> Translator:
    """Raises :class:`UserError` for a model that does not write, or has not these languages."""
    if loaded.head == "causal-lm":
        return InstructedTranslator(loaded, options)
    require_writer(loaded)
    return EncoderDecoderTranslator(loaded, options)


class EncoderDecoderTranslator:
    """Marian, M2M100, NLLB, mBART, T5 and their like."""

    def __init__(self, loaded: LoadedModel, options: TranslateOptions) -> None:
        self._loaded, self._options = loaded, options
        trained = trained_options(loaded)
        self.offer = offered_languages(loaded)
        prefix = options.source_prefix or str(trained.get("source_prefix") or "")
        if prefix:  # whoever writes it knows what the model takes
            source, self.target = options.source_language, options.target_language
        else:
            source, self.target = choose_languages(loaded, self.offer, options.source_language, options.target_language)
        chosen = dataclasses.replace(options, source_language=source, target_language=self.target)
        self.direction = Direction.of(
            loaded.tokenizer,
            loaded.model.config,
            chosen,
            prefix,
            language_token=bool(trained.get("language_token", True)),
        )
        if not self.direction.prefix and not self.direction.languages.tokens:
            prefix = customary_prefix(loaded, source, self.target)
            self.direction = dataclasses.replace(self.direction, prefix=prefix)
        recipe = read_provenance(loaded.folder).get("recipe") or {}
        learned = (recipe.get("training") or {}).get("max_length")  # longer texts it has never read
        self._limit = min(longest_text(loaded), learned if isinstance(learned, int) else _NO_LIMIT)

    def too_long(self, texts: Sequence[str], target: str) -> list[bool]:
        prompts = self.direction.prompts(texts, [self._into(target)] * len(texts), _NO_LIMIT)
        return [len(prompt.input_ids) > self._limit for prompt in prompts]

    def _into(self, target: str) -> str:
        """The language, if it is said. Raises :class:`UserError` where the model has to be told one."""
        chosen = target or self.target
        if not chosen and self.offer.asks_target and not self.direction.begins_decoder:
            raise UserError(
                "The model translates into several languages: {languages}.",
                "Set target_language to one of them.",
                languages=", ".join(self.offer.targets),
            )
        return chosen

    def write(
        self, texts: Sequence[str], targets: Sequence[str], ctx: JobContext, done: Done | None = None, *, count: int = 1
    ) -> list[list[Hypothesis]]:
        prompts = self.direction.prompts(texts, [self._into(target) for target in targets], self._limit)
        return write_hypotheses(
            self._loaded,
            prompts,
            ctx,
            self._options,
            batch_size=self._options.batch_size,
            longest_ratio=LONGEST_RATIO,
            count=count,
            done=done,
        )

    def align(
        self, pairs: Sequence[tuple[str, str]], targets: Sequence[str], ctx: JobContext
    ) -> list[Alignment | None]:
        if not can_align(self._loaded):
            return [None] * len(pairs)
        return list(align(self._loaded, self.direction, pairs, [self._into(target) for target in targets], ctx))


class InstructedTranslator:
    """A language model that is told in words what to do."""

    def __init__(self, loaded: LoadedModel, options: TranslateOptions) -> None:
        self._loaded, self._options = loaded, options
        self.offer = offered_languages(loaded)
        self._source, self.target = options.source_language, options.target_language
        self._limit = longest_text(loaded)

    def too_long(self, texts: Sequence[str], target: str) -> list[bool]:
        """The reply must have its room, too."""
        return [len(prompt) + _most(text) > self._limit for prompt, text in self._prompts(texts, [target] * len(texts))]

    def _prompts(self, texts: Sequence[str], targets: Sequence[str]) -> Iterator[tuple[list[int], list[int]]]:
        """The prompt of each text, and the tokens of the text alone."""
        tokenizer = self._loaded.tokenizer
        for text, target in zip(texts, targets, strict=True):
            into = target or self.target
            if not into:
                raise UserError(
                    "It is not said which language to translate into.", "Set target_language, such as de or zh."
                )
            plain: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
            names = LANGUAGE_NAMES.get(self._source, ""), LANGUAGE_NAMES[check_language(into)]
            if not tokenizer.chat_template:
                written = f"{names[0] or 'Text'}: {text}\n{names[1]}:"
                yield tokenizer(written, verbose=False)["input_ids"], plain
                continue
            between = f"from {names[0]} into {names[1]}" if names[0] else f"into {names[1]}"
            content = f"Translate the following text {between}. Reply with the translation only.\n\n{text}"
            try:
                yield encode_prompt(tokenizer, [{"role": "user", "content": content}], _NO_LIMIT), plain
            except TemplateRefused as error:
                raise UserError(
                    "The chat template of {model} does not take a question ({reason}).",
                    "Choose another chat model.",
                    model=self._loaded.card.title or self._loaded.reference,
                    reason=str(error)[:200],
                ) from error

    def write(
        self, texts: Sequence[str], targets: Sequence[str], ctx: JobContext, done: Done | None = None, *, count: int = 1
    ) -> list[list[Hypothesis]]:
        """The first translation is the most probable one, unless all are to be drawn; others are drawn."""
        options = self._options
        found: list[list[Hypothesis]] = [[] for _ in texts]
        asks = [
            Ask(prompt, 0, max(1, min(options.max_new_tokens, _most(text), self._limit - len(prompt))))
            for prompt, text in self._prompts(texts, targets)
        ]

        def _read(row: int, written: Written) -> None:
            text = tidy_reply(written.text, texts[row], LANGUAGE_NAMES.get(targets[row] or self.target, ""))
            if all(item.text != text for item in found[row]):
                found[row].append(Hypothesis(text, written.tokens, written.ended))

        def _tell(row: int, written: Written) -> None:
            _read(row, written)
            if done is not None and count == 1:
                done(row, found[row])

        for draw in range(count):
            write_behind(
                self._loaded, asks, ctx, self._manner(draw), batch_size=min(options.batch_size, 8),
                done=_tell if draw == 0 else _read,
            )  # fmt: skip
        if done is not None and count > 1:
            for row, hypotheses in enumerate(found):
                done(row, hypotheses)
        return found

    def _manner(self, draw: int) -> Manner:
        options = self._options
        temperature = options.temperature if options.sample else (_DRAWN if draw else 0.0)
        return Manner(
            temperature=temperature,
            top_k=options.top_k,
            top_p=options.top_p,
            no_repeat_ngram=options.no_repeat_ngram,
            seed=options.seed + draw,
        )

    def align(
        self, pairs: Sequence[tuple[str, str]], targets: Sequence[str], ctx: JobContext
    ) -> list[Alignment | None]:
        return [None] * len(pairs)


def _most(ids: Sequence[int]) -> int:
    """Tokens that the translation of so many can have: Latin tokens hold more than those of other scripts."""
    return int(2 * LONGEST_RATIO * len(ids)) + _ROOM


_QUOTES = (('"', '"'), ("“", "”"), ("„", "“"), ("«", "»"), ("「", "」"))


def tidy_reply(reply: str, source: str, language: str) -> str:
    """A chat model's translation without what it says around it: labels, quotes, and notes below."""
    text = reply.strip()
    if "\n" not in source.strip() and "\n" in text:
        lines = [line.strip() for line in text.split("\n") if line.strip()]
        text = lines[1] if len(lines) > 1 and lines[0].endswith((":", "：")) else lines[0]
    label = re.match(rf"(?:translation|{re.escape(language) or 'translation'})\s*[:：]\s*", text, re.IGNORECASE)
    text = text[label.end() :] if label else text
    for first, last in _QUOTES:
        if len(text) > 1 and text[0] == first and text[-1] == last and source.strip()[:1] not in "\"“„«「'":
            return text[1:-1].strip()
    return text
