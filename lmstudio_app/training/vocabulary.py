"""Learning a tokenizer on its own, to look at it before a model is made for it, and looking at any tokenizer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmstudio_app.data.sources import read_table
from lmstudio_app.errors import UserError
from lmstudio_app.files import atomic_folder
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.architectures import TokenizerConfig
from lmstudio_app.models.loading import load_tokenizer, preload_libraries, quiet_transformers
from lmstudio_app.models.references import resolve
from lmstudio_app.models.tokenizer_report import TokenizerReport, tokenizer_report
from lmstudio_app.models.tokenizers import train_tokenizer

if TYPE_CHECKING:
    from datasets import Dataset

_BATCH = 1000
_TEXT_TYPES = ("string", "large_string")
_REPORTED = 2000  # texts that a report looks at, spread over the data


@dataclass(frozen=True)
class TokenizerRequest:
    """Learn a tokenizer for ``family`` from the texts of ``data`` (as in a recipe) and save it in ``output``.

    ``columns`` are those with the texts; empty: all that hold text. ``special_tokens`` stay whole.
    """

    data: Any
    output: Path
    config: TokenizerConfig = field(default_factory=TokenizerConfig)
    family: str = "bert"
    max_length: int = 512
    columns: tuple[str, ...] = ()
    special_tokens: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReportRequest:
    """Look at the tokenizer of a model or a folder, with ``texts`` or with the texts of ``data``."""

    tokenizer: str
    texts: tuple[str, ...] = ()
    data: Any = None
    columns: tuple[str, ...] = ()


def learn_tokenizer(request: TokenizerRequest, ctx: JobContext) -> TokenizerReport:
    """The job: learn, save, report. Raises :class:`UserError` when the output is there already."""
    if request.output.exists() and any(request.output.iterdir() if request.output.is_dir() else [request.output]):
        raise UserError("{path} is there already.", "Name a new folder.", path=str(request.output))
    preload_libraries(ctx)
    dataset = read_table(request.data, ctx).dataset
    columns = _text_columns(dataset, request.columns)
    tokenizer = train_tokenizer(
        request.config, _texts(dataset, columns), ctx,
        family=request.family, max_length=request.max_length, extra=request.special_tokens,
    )  # fmt: skip
    with atomic_folder(request.output) as temporary, quiet_transformers():
        tokenizer.save_pretrained(temporary)
    return tokenizer_report(tokenizer, _texts(dataset, columns, _REPORTED), ctx)


def report_on_tokenizer(request: ReportRequest, ctx: JobContext) -> TokenizerReport:
    """The job: how a tokenizer cuts texts. ``request.tokenizer`` is a catalogue name, a hub id or a folder."""
    preload_libraries(ctx)
    with quiet_transformers(ctx):
        tokenizer = load_tokenizer(resolve(request.tokenizer, ctx))
    texts: Iterator[str] = iter(request.texts)
    if request.data is not None:
        dataset = read_table(request.data, ctx).dataset
        texts = _texts(dataset, _text_columns(dataset, request.columns), _REPORTED)
    return tokenizer_report(tokenizer, texts, ctx, samples=max(5, len(request.texts)))


def _text_columns(dataset: Dataset, wanted: Sequence[str]) -> list[str]:
    names = [name for name, feature in dataset.features.items() if getattr(feature, "dtype", "") in _TEXT_TYPES]
    for name in wanted:
        if name not in names:
            raise UserError("There is no column {name} with texts.", "There are: {names}.",
                            name=name, names=", ".join(names))  # fmt: skip
    if not names:
        raise UserError("The data holds no texts.", "Name a file with a column of texts.")
    return list(wanted) or names


def _texts(dataset: Dataset, columns: Sequence[str], at_most: int = 0) -> Iterator[str]:
    """The texts of these columns row by row; of ``at_most`` rows, spread over the data."""
    step = max(1, len(dataset) // at_most) if at_most else 1
    rows = (
        values
        for start in range(0, len(dataset), _BATCH * step)
        for values in zip(*(dataset[start : start + _BATCH * step : step][name] for name in columns), strict=True)
    )
    for values in islice(rows, at_most or None):
        yield from (value for value in values if value is not None)
