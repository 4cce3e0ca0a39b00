"""Translation: a text in, the same text in another language out. Marian, M2M100, NLLB, mBART, T5 and their like."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmstudio_app.data.columns import ColumnSpec
from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.languages import Languages, check_language, declared_languages, set_languages, source_token
from lmstudio_app.options import option
from lmstudio_app.tasks.outputs import Text
from lmstudio_app.tasks.seq2seq import (
    TEXT,
    Seq2SeqOptions,
    WriteOptions,
    collate,
    declared_prefix,
    encode_sources,
    encode_targets,
    evaluate_pairs,
    smoothed_loss,
    trained_options,
    write_rows,
)
from lmstudio_app.tasks.task import Evaluation, Features, Prediction, Rows, Setup, Task, count_labels
from lmstudio_app.tasks.text_metrics import translation_scores
from lmstudio_app.tasks.writing import Prompt

if TYPE_CHECKING:
    from datasets import Dataset

    from lmstudio_app.models.loading import LoadedModel

# A translation has at most so many times the tokens of its source (Marian's --max-length-factor), so that a model that
# has learned little yet does not write on and on.
_LONGEST_RATIO = 3.0


@dataclass(frozen=True)
class TranslationOptions(Seq2SeqOptions):
    """How pairs of texts are read. Languages are ISO 639-1 codes."""

    source_language: str = option(
        "", "From", "Language of the source texts, such as en; models of many languages need to know it.", basic=True
    )
    target_language: str = option(
        "", "Into", "Language of the target texts, such as zh; a language column says it row by row.", basic=True
    )
    language_token: bool = option(
        True,
        "Language token",
        "Put the target language's token, such as >>deu<<, in front of the source where the vocabulary has one.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self.source_language, self.target_language)


@dataclass(frozen=True)
class TranslateOptions(WriteOptions):
    """What a translation can be told. Languages are ISO 639-1 codes; empty: as the model was trained."""

    source_language: str = option("", "From", "Language of the texts, such as en.", basic=True)
    target_language: str = option("", "Into", "Language of the translations, such as zh.", basic=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self.source_language, self.target_language)


def _check(*codes: str) -> None:
    for code in codes:
        if code:
            check_language(code)


@dataclass(frozen=True)
class _Direction:
    """How texts are written down for one model; ``prefix`` and ``source_language`` may be empty."""

    tokenizer: Any
    languages: Languages
    source_language: str
    prefix: str
    language_token: bool = True

    @classmethod
    def of(cls, tokenizer: Any, config: Any, options: Any, prefix: str, *, language_token: bool = True) -> _Direction:
        pair = f"translation_{options.source_language}_to_{options.target_language}"
        prefix = prefix or declared_prefix(config, pair)
        return cls(tokenizer, declared_languages(tokenizer), options.source_language, prefix, language_token)

    @property
    def begins_decoder(self) -> bool:
        return bool(self.languages.tokens) and not self.languages.in_source

    def prompts(self, texts: Sequence[str], targets: Sequence[str], max_length: int) -> list[Prompt]:
        """``targets`` are the target languages of the texts, empty where it is not known."""
        if self.begins_decoder:
            if not self.source_language or not all(targets):
                raise UserError(
                    "The model translates between many languages, and it is not said which ones these are.",
                    "Set source_language and target_language, such as en and de.",
                )
            set_languages(self.tokenizer, self.languages, source=self.source_language)
        written = [self.prefix + text for text in texts]
        if self.languages.in_source and self.languages.tokens and self.language_token:
            written = [
                f"{self.languages.token(target)} {text}" if target else text
                for text, target in zip(written, targets, strict=True)
            ]
        sources = encode_sources(self.tokenizer, written, max_length)
        return [Prompt(ids, self._decoder_prefix(target)) for ids, target in zip(sources, targets, strict=True)]

    def _decoder_prefix(self, target: str) -> tuple[int, ...]:
        if not self.begins_decoder:
            return ()
        return (int(self.tokenizer.convert_tokens_to_ids(self.languages.token(target))),)


def row_languages(rows: Rows, options: TranslationOptions) -> list[str]:
    """The target language of each row: that of the column ``language``, else the one of the options."""
    if "language" not in rows:
        return [options.target_language] * len(rows["source"])
    return [check_language(str(code)) if code else options.target_language for code in rows["language"]]


def special_tokens(train: Dataset, options: TranslationOptions) -> tuple[str, ...]:
    """The language tokens that a new vocabulary should have: of every target language in the data."""
    if not options.language_token:
        return ()
    codes = set(train.unique("language")) if "language" in train.column_names else set()
    codes = {str(code) for code in codes if code} or {options.target_language} - {""}
    return tuple(sorted(source_token(code) for code in codes))


def encode(rows: Rows, setup: Setup) -> Features:
    """``input_ids`` of the sources and, by the tokenizer's target side, ``labels`` of the targets."""
    options: TranslationOptions = setup.options
    targets = row_languages(rows, options)
    direction = _training_direction(setup)
    prompts = direction.prompts(rows["source"], targets, setup.max_length)
    labels: list[list[int]] = [[]] * len(targets)
    # a tokenizer that puts the language in front of the target is told it, language by language
    for language in sorted(set(targets)) if direction.begins_decoder else [""]:
        if language:
            set_languages(setup.tokenizer, direction.languages, target=language)
        chosen = [row for row, target in enumerate(targets) if not language or target == language]
        encoded = encode_targets([rows["target"][row] for row in chosen], setup)
        for row, ids in zip(chosen, encoded, strict=True):
            labels[row] = ids
    return {"input_ids": [list(prompt.input_ids) for prompt in prompts], "labels": labels}


def _training_direction(setup: Setup) -> _Direction:
    options: TranslationOptions = setup.options
    return _Direction.of(
        setup.tokenizer, setup.model_config, options, options.source_prefix, language_token=options.language_token
    )


def evaluate(evaluation: Evaluation) -> tuple[dict[str, float], dict[str, Any]]:
    """Loss and perplexity over all rows; BLEU, chrF and samples over ``generate_rows`` of them, spread evenly."""
    setup = evaluation.setup

    def _prompts(rows: Rows) -> list[Prompt]:
        languages = row_languages(rows, setup.options)
        return _training_direction(setup).prompts(rows["source"], languages, setup.max_length)

    def _score(outputs: Sequence[str], references: Sequence[str], rows: Rows) -> dict[str, float]:
        return translation_scores(outputs, references, row_languages(rows, setup.options))

    return evaluate_pairs(evaluation, ("source", "target"), _prompts, _score, longest_ratio=_LONGEST_RATIO)


def translate(
    loaded: LoadedModel, rows: Iterable[Mapping[str, Any]], ctx: JobContext, options: TranslateOptions
) -> Iterator[Text]:
    """The translation of each row's ``text``, in the rows' order; a row's ``language`` goes before the options.

    Languages and prefix that are not given are those of the model's training by this app; a model with a single target
    language needs none.
    """
    trained = trained_options(loaded)
    chosen = TranslationOptions(
        source_language=options.source_language or str(trained.get("source_language") or ""),
        target_language=options.target_language or str(trained.get("target_language") or ""),
        language_token=bool(trained.get("language_token", True)),
    )
    prefix = options.source_prefix or str(trained.get("source_prefix") or "")
    direction = _Direction.of(
        loaded.tokenizer, loaded.model.config, chosen, prefix, language_token=chosen.language_token
    )
    known = direction.languages.tokens
    single = next(iter(known)) if len(known) == 1 and direction.languages.in_source else ""

    def _prompts(texts: Sequence[str], rows: Sequence[Mapping[str, Any]], limit: int) -> list[Prompt]:
        asked = [str(row.get("language") or "") for row in rows]
        targets = [check_language(code) if code else chosen.target_language or single for code in asked]
        if len(known) > 1 and direction.language_token and not all(targets):
            raise UserError(
                "The model translates into several languages: {languages}.",
                "Set target_language to one of them.",
                languages=", ".join(sorted(known)),
            )
        return direction.prompts(texts, targets, limit)

    return write_rows(loaded, rows, ctx, options, _prompts, longest_ratio=_LONGEST_RATIO)


_LANGUAGES = ("zh", "de", "fr", "es", "it", "pt", "nl", "pl", "ru", "ja", "ko", "ar", "tr", "sv", "cs", "fi", "uk")
_NAMES = ("chinese", "german", "french", "spanish", "italian", "portuguese", "dutch", "polish", "russian", "japanese")
SOURCE = ColumnSpec(
    "source",
    "Source",
    "The column with the texts to translate.",
    aliases=("source", "src", "source_text", "source_sentence", "input", "original", "en", "eng", "english", "en_us"),
)
TARGET = ColumnSpec(
    "target",
    "Target",
    "The column with their translations.",
    aliases=("target", "tgt", "trg", "target_text", "target_sentence", "translation", "translated", "output",
             "reference", *_LANGUAGES, *_NAMES),
)  # fmt: skip
LANGUAGE = ColumnSpec(
    "language",
    "Target language",
    "For pairs into several languages: the column with each target's ISO 639-1 code, such as de.",
    type="choice",
    required=False,
    aliases=("language", "lang", "target_language", "target_lang", "tgt_lang"),
)
TRANSLATE = Prediction(
    name="translation",
    title="Translation",
    help="Translate texts into another language.",
    inputs=(TEXT,),
    heads=("seq2seq-lm",),
    output=Text,
    predict=translate,
    options=TranslateOptions,
)
TRANSLATION = Task(
    name="translation",
    title="Translation",
    help="Turn texts into another language, learned from pairs of texts.",
    columns=(SOURCE, TARGET, LANGUAGE),
    head="seq2seq-lm",
    main_metric="chrf",
    greater_is_better=True,
    encode=encode,
    collate=collate,
    evaluate=evaluate,
    loss=smoothed_loss,
    items=count_labels,
    predictions=(TRANSLATE,),
    options=TranslationOptions,
    special_tokens=special_tokens,
)
