"""Translation: a text in, the same text in another language out. Marian, M2M100, NLLB, mBART, T5 and their like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmstudio_app.data.columns import ColumnSpec
from lmstudio_app.models.languages import check_language, set_languages, source_token
from lmstudio_app.options import option
from lmstudio_app.tasks.outputs import Text
from lmstudio_app.tasks.seq2seq import TEXT, Seq2SeqOptions, collate, encode_targets, evaluate_pairs, smoothed_loss
from lmstudio_app.tasks.task import Evaluation, Features, Prediction, Rows, Setup, Task, count_labels
from lmstudio_app.tasks.text_metrics import translation_scores
from lmstudio_app.tasks.translating import translate
from lmstudio_app.tasks.translation_direction import Direction
from lmstudio_app.tasks.translators import LONGEST_RATIO, TranslateOptions
from lmstudio_app.tasks.writing import Prompt

if TYPE_CHECKING:
    from datasets import Dataset


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


def _check(*codes: str) -> None:
    for code in codes:
        if code:
            check_language(code)


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


def _training_direction(setup: Setup) -> Direction:
    options: TranslationOptions = setup.options
    return Direction.of(
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

    return evaluate_pairs(evaluation, ("source", "target"), _prompts, _score, longest_ratio=LONGEST_RATIO)


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
    heads=("seq2seq-lm", "causal-lm"),
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
