"""Between which languages a model translates, and how texts are written down for it."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmstudio_app.errors import UserError
from lmstudio_app.models.language_names import COMMON_LANGUAGES, LANGUAGE_NAMES
from lmstudio_app.models.languages import Languages, declared_languages, known_code, set_languages
from lmstudio_app.tasks.seq2seq import declared_prefix, encode_sources, trained_options
from lmstudio_app.tasks.writing import Prompt

if TYPE_CHECKING:
    from lmstudio_app.models.loading import LoadedModel

_T5_PAIR = re.compile(r"translation_([a-z]{2,3})_to_([a-z]{2,3})")
_OPUS_NAME = re.compile(r"opus-mt(?:-tc-big|-tc-base)?-([a-z]{2,3})-([a-z]{2,3})(?![a-z])", re.IGNORECASE)
_TOLD_BY_PREFIX = ("t5", "mt5", "umt5", "longt5", "switch_transformers")
_telling = threading.Lock()  # a tokenizer is told its languages; two threads may use the same


@dataclass(frozen=True)
class Offer:
    """What a model says it translates, in ISO 639-1 codes.

    ``sources`` and ``targets`` are empty where it does not say; ``pairs`` limits which go together, and is empty where
    all do. ``asks_source`` and ``asks_target``: it needs to be told. ``instructed``: it is asked in words, and may know
    other languages than those.
    """

    sources: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    asks_source: bool = False
    asks_target: bool = False
    instructed: bool = False

    def targets_of(self, source: str) -> tuple[str, ...]:
        """The languages that a text in ``source`` can be translated into."""
        if self.pairs and source:
            return tuple(target for first, target in self.pairs if first == source)
        return tuple(target for target in self.targets if target != source)

    def allows(self, source: str, target: str) -> bool:
        if self.instructed or not (source or target):
            return True
        known = (not source or not self.sources or source in self.sources) and (
            not target or not self.targets or target in self.targets
        )
        return known and (not self.pairs or not (source and target) or (source, target) in self.pairs)

    def can_swap(self, source: str, target: str) -> bool:
        """Does it also translate the other way?"""
        return bool(source and target) and target in self.sources and source in self.targets_of(target)

    def described(self) -> str:
        """``en → de, en → fr`` or ``en → de, fr, zh``."""
        if self.pairs:
            return ", ".join(f"{source} → {target}" for source, target in self.pairs)
        return f"{', '.join(self.sources) or '…'} → {', '.join(self.targets) or '…'}"


def offered_languages(loaded: LoadedModel) -> Offer:
    """What the tokenizer, the configuration, the training by this app, or the model's name declares."""
    if loaded.head == "causal-lm":
        return Offer(COMMON_LANGUAGES, COMMON_LANGUAGES, asks_target=True, instructed=True)
    declared = declared_languages(loaded.tokenizer)
    trained = trained_options(loaded)
    known = tuple(sorted(declared.tokens))
    if known and not declared.in_source:
        return Offer(known, known, asks_source=True, asks_target=True)
    source, target = _single(loaded, trained)
    sources = (source,) if source else ()
    if known:
        is_told = bool(trained.get("language_token", True))
        return Offer(sources, known, asks_target=is_told and len(known) > 1)
    pairs = tuple(
        (first, second)
        for name in getattr(loaded.model.config, "task_specific_params", None) or {}
        if (match := _T5_PAIR.fullmatch(name))
        if (first := known_code(match[1])) and (second := known_code(match[2]))
    )
    if pairs and not trained:
        firsts, seconds = (tuple(dict.fromkeys(pair[side] for pair in pairs)) for side in (0, 1))
        return Offer(firsts, seconds, pairs, asks_source=len(firsts) > 1, asks_target=len(seconds) > 1)
    return Offer(sources, (target,) if target else ())


def _single(loaded: LoadedModel, trained: Mapping[str, Any]) -> tuple[str, str]:
    """Source and target of a model for one pair; empty where it does not say."""
    named = _OPUS_NAME.search(loaded.reference)
    found = []
    for side, name in enumerate(("source", "target")):
        stated = [trained.get(f"{name}_language"), getattr(loaded.tokenizer, f"{name}_lang", None)]
        stated.append(named[side + 1] if named else None)
        codes = [known_code(code.lower().split("_")[0]) for code in stated if isinstance(code, str) and code]
        found.append(next((code for code in codes if code), ""))
    return found[0], found[1]


def choose_languages(loaded: LoadedModel, offer: Offer, source: str, target: str) -> tuple[str, str]:
    """What is meant by languages of which some may not be given.

    Raises :class:`UserError` naming the languages there are when the model does not have these.
    """
    trained = trained_options(loaded)
    source = source or str(trained.get("source_language") or "")
    target = target or str(trained.get("target_language") or "")
    if not source and len(offer.sources) == 1:
        source = offer.sources[0]
    if not target and len(offer.targets) == 1:
        target = offer.targets[0]
    if not offer.allows(source, target) and not _knows_too_little(offer, target):
        raise UserError(
            "{model} does not translate from {source} into {target}.",
            "It translates: {languages}.",
            model=loaded.card.title or loaded.reference,
            source=source or "…",
            target=target or "…",
            languages=offer.described(),
        )
    return source, target


def _knows_too_little(offer: Offer, target: str) -> bool:
    """Is it a language whose token is missing? :meth:`Languages.token` says that better."""
    return not offer.pairs and len(offer.targets) > 1 and bool(target) and target not in offer.targets


@dataclass(frozen=True)
class Direction:
    """How texts are written down for one encoder-decoder; ``prefix`` and ``source_language`` may be empty."""

    tokenizer: Any
    languages: Languages
    source_language: str
    prefix: str
    language_token: bool = True

    @classmethod
    def of(cls, tokenizer: Any, config: Any, options: Any, prefix: str, *, language_token: bool = True) -> Direction:
        """``options`` have a source_language and a target_language."""
        pair = f"translation_{options.source_language}_to_{options.target_language}"
        prefix = prefix or declared_prefix(config, pair)
        return cls(tokenizer, declared_languages(tokenizer), options.source_language, prefix, language_token)

    @property
    def begins_decoder(self) -> bool:
        return bool(self.languages.tokens) and not self.languages.in_source

    def lead(self, target: str) -> str:
        """What stands before a source text."""
        is_told = self.languages.in_source and self.languages.tokens and self.language_token and target
        return f"{self.languages.token(target)} {self.prefix}" if is_told else self.prefix

    def prompts(self, texts: Sequence[str], targets: Sequence[str], max_length: int) -> list[Prompt]:
        """``targets`` are the target languages of the texts, empty where it is not known."""
        if self.begins_decoder and (not self.source_language or not all(targets)):
            raise UserError(
                "The model translates between many languages, and it is not said which ones these are.",
                "Set source_language and target_language, such as en and de.",
            )
        written = [self.lead(target) + text for text, target in zip(texts, targets, strict=True)]
        with self.telling():
            sources = encode_sources(self.tokenizer, written, max_length)
        return [Prompt(ids, self.decoder_prefix(target)) for ids, target in zip(sources, targets, strict=True)]

    def written(self, texts: Sequence[str], targets: Sequence[str]) -> list[list[int]]:
        """Translations as the decoder writes them, without special tokens."""
        found: list[list[int]] = []
        for text, target in zip(texts, targets, strict=True):
            with self.telling(target):
                encoded = self.tokenizer(text_target=text, add_special_tokens=False, return_attention_mask=False)
            found.append(list(encoded["input_ids"]))
        return found

    @contextlib.contextmanager
    def telling(self, target: str = "") -> Iterator[None]:
        """The tokenizer as it reads sources, or texts in the language ``target``, for as long as this lasts."""
        with _telling:
            if self.begins_decoder:
                source = "" if target else self.source_language
                set_languages(self.tokenizer, self.languages, source=source, target=target)
            yield

    def decoder_prefix(self, target: str) -> tuple[int, ...]:
        if not self.begins_decoder:
            return ()
        return (int(self.tokenizer.convert_tokens_to_ids(self.languages.token(target))),)


def customary_prefix(loaded: LoadedModel, source: str, target: str) -> str:
    """``translate English to German: `` for T5 and its kin (Raffel et al. 2020), unless it was trained here."""
    if loaded.model.config.model_type not in _TOLD_BY_PREFIX or trained_options(loaded) or not (source and target):
        return ""
    return f"translate {LANGUAGE_NAMES[source]} to {LANGUAGE_NAMES[target]}: "
