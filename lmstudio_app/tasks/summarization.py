"""Summarisation: a long text in, a short one out. BART, T5, Pegasus, Marian and their like."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lmstudio_app.data.columns import ColumnSpec
from lmstudio_app.jobs import JobContext
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
from lmstudio_app.tasks.text_metrics import summary_scores
from lmstudio_app.tasks.writing import Prompt

if TYPE_CHECKING:
    from lmstudio_app.models.loading import LoadedModel


def _sources(tokenizer: Any, config: Any, prefix: str, texts: Sequence[str], max_length: int) -> list[list[int]]:
    prefix = prefix or declared_prefix(config, "summarization")
    return encode_sources(tokenizer, [prefix + text for text in texts], max_length)


def encode(rows: Rows, setup: Setup) -> Features:
    """``input_ids`` of the documents and ``labels`` of the summaries."""
    return {"input_ids": _training_sources(rows, setup), "labels": encode_targets(rows["summary"], setup)}


def _training_sources(rows: Rows, setup: Setup) -> list[list[int]]:
    prefix = setup.options.source_prefix
    return _sources(setup.tokenizer, setup.model_config, prefix, rows["document"], setup.max_length)


def evaluate(evaluation: Evaluation) -> tuple[dict[str, float], dict[str, Any]]:
    """Loss and perplexity over all rows; ROUGE and samples over ``generate_rows`` of them, spread evenly."""

    def _prompts(rows: Rows) -> list[Prompt]:
        return [Prompt(ids) for ids in _training_sources(rows, evaluation.setup)]

    def _score(outputs: Sequence[str], references: Sequence[str], rows: Rows) -> dict[str, float]:
        return summary_scores(outputs, references)

    return evaluate_pairs(evaluation, ("document", "summary"), _prompts, _score)


def summarize(
    loaded: LoadedModel, rows: Iterable[Mapping[str, Any]], ctx: JobContext, options: WriteOptions
) -> Iterator[Text]:
    """The summary of each row's ``text``, in the rows' order."""
    prefix = options.source_prefix or str(trained_options(loaded).get("source_prefix") or "")

    def _prompts(texts: Sequence[str], rows: Sequence[Mapping[str, Any]], limit: int) -> list[Prompt]:
        return [Prompt(ids) for ids in _sources(loaded.tokenizer, loaded.model.config, prefix, texts, limit)]

    return write_rows(loaded, rows, ctx, options, _prompts)


DOCUMENT = ColumnSpec(
    "document",
    "Document",
    "The column with the long texts.",
    aliases=("document", "dialogue", "article", "text", "source", "content", "body", "passage", "input"),
)
SUMMARY = ColumnSpec(
    "summary",
    "Summary",
    "The column with their summaries.",
    aliases=("summary", "highlights", "abstract", "target", "headline", "title", "tldr", "output"),
)
SUMMARIZE = Prediction(
    name="summarization",
    title="Summarisation",
    help="Say in few sentences what long texts say.",
    inputs=(TEXT,),
    heads=("seq2seq-lm",),
    output=Text,
    predict=summarize,
    options=WriteOptions,
)
SUMMARIZATION = Task(
    name="summarization",
    title="Summarisation",
    help="Say in few sentences what a long text says, learned from texts and their summaries.",
    columns=(DOCUMENT, SUMMARY),
    head="seq2seq-lm",
    main_metric="rouge_l",
    greater_is_better=True,
    encode=encode,
    collate=collate,
    evaluate=evaluate,
    loss=smoothed_loss,
    items=count_labels,
    predictions=(SUMMARIZE,),
    options=Seq2SeqOptions,
    recommended={"training.max_length": 512, "training.batch_size": 8},
)
