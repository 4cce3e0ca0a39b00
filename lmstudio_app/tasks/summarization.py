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
    collate,
    declared_prefix,
    encode_sources,
    encode_targets,
    evaluate_pairs,
    smoothed_loss,
)
from lmstudio_app.tasks.streaming import read_ahead, row_text
from lmstudio_app.tasks.summarizing import summarize_texts
from lmstudio_app.tasks.summary_writers import SummaryOptions
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
    loaded: LoadedModel, rows: Iterable[Mapping[str, Any]], ctx: JobContext, options: SummaryOptions
) -> Iterator[Text]:
    """The summary of each row's ``text``, in the rows' order; see :func:`summarize_texts` for long and short ones.

    A stop ends it between two windows of rows. Raises :class:`UserError` for a row without a text, and for a model that
    cannot write.
    """
    has_warned = False
    # a language model is slow, and whoever waits for the first rows should not wait for hundreds
    ahead = read_ahead(rows, options.batch_size if loaded.head == "seq2seq-lm" else max(1, options.batch_size // 16))
    for window in ahead:
        if ctx.stopping:
            return
        for summary in summarize_texts(loaded, [row_text(row) for row in window], ctx, options):
            if summary.joined and not has_warned:
                has_warned = True
                ctx.warn(
                    "The summaries of the parts of a long text could not be made shorter; they stand one behind the "
                    "other."
                )
            yield Text(summary.text)


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
    heads=("seq2seq-lm", "causal-lm"),
    output=Text,
    predict=summarize,
    options=SummaryOptions,
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
