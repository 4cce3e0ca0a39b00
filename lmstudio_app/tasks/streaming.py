"""Rows through a model: read ahead, sorted by length, and given back in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from lmstudio_app.data.batching import sorted_batches
from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.card import MAX_SENSIBLE_LENGTH

if TYPE_CHECKING:
    from lmstudio_app.models.loading import LoadedModel

T = TypeVar("T")
R = TypeVar("R")
READ_AHEAD = 16  # batches


class Row(dict[str, Any]):
    """A row that knows where it stands: its line in the file, and how many rows came before it."""

    def __init__(self, values: Mapping[str, Any], *, line: int, number: int) -> None:
        super().__init__(values)
        self.line = line
        self.number = number


class BadRow(UserError):
    """A row that no prediction can be made for. ``row`` is the very mapping that came in, so that whoever read it can
    say where it stands; the sentence shows its beginning.
    """

    def __init__(self, source: Mapping[str, Any], template: str, remedy: str, **parameters: Any) -> None:
        self.row = source
        super().__init__(template, remedy, row=str(dict(source))[:120], **parameters)


def read_ahead(rows: Iterable[Mapping[str, Any]], batch_size: int) -> Iterator[list[Mapping[str, Any]]]:
    """The rows in windows of :data:`READ_AHEAD` batches, within which they are sorted by length: any file streams."""
    source = iter(rows)
    while window := list(islice(source, batch_size * READ_AHEAD)):
        yield window


def stream_rows(
    rows: Iterable[Mapping[str, Any]],
    batch_size: int,
    ctx: JobContext,
    prepare: Callable[[Sequence[Mapping[str, Any]]], Sequence[T]],
    length: Callable[[T], int],
    run: Callable[[Sequence[T]], Sequence[R]],
) -> Iterator[R]:
    """Yield what ``run`` makes of each row, in the rows' order.

    ``prepare`` gets a window of :func:`read_ahead` and gives one item a row; ``run`` gets at most ``batch_size`` items
    of similar length.
    """
    import numpy as np

    for window in read_ahead(rows, batch_size):
        ctx.check()
        prepared = prepare(window)
        results: dict[int, R] = {}
        for batch in sorted_batches(np.array([length(item) for item in prepared]), batch_size):
            ctx.check()
            for index, result in zip(batch.tolist(), run([prepared[index] for index in batch]), strict=True):
                results[index] = result
        yield from (results[index] for index in range(len(window)))


def by_row(features: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Features by name, one a row, as one mapping a row."""
    return [dict(zip(features, values, strict=True)) for values in zip(*features.values(), strict=True)]


def row_text(row: Mapping[str, Any], name: str = "text") -> str:
    """The text of a row. Raises :class:`UserError` when it has none."""
    text = row.get(name)
    if not isinstance(text, str):
        raise BadRow(row, "A row has no {name}: {row}.", 'Each row needs {{"{name}": …}}.', name=name)
    return whole_characters(text)


def whole_characters(text: str) -> str:
    """JSON can hold half a character, and no tokenizer takes one."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def longest_text(loaded: LoadedModel) -> int:
    """Tokens that the model can read."""
    return int(min(loaded.card.max_length or MAX_SENSIBLE_LENGTH, loaded.tokenizer.model_max_length))


def token_text(tokenizer: Any, token: int) -> str:
    """A single token for people: with the space that it begins with, and with ``##`` where it goes on with a word."""
    piece = str(tokenizer.convert_ids_to_tokens(token))
    if token in tokenizer.all_special_ids or piece.startswith("##"):
        return piece
    if piece.startswith("▁"):  # a sentencepiece alone loses its space when it is decoded
        return piece.replace("▁", " ")
    return str(tokenizer.decode([token], clean_up_tokenization_spaces=False))
