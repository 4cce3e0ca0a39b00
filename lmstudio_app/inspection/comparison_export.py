"""Write a comparison to a file: numbers (.npz, .csv) or a picture of one head (.png, .svg, .pdf)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from lmstudio_app.errors import UserError
from lmstudio_app.files import atomic_path
from lmstudio_app.inspection import drawing
from lmstudio_app.inspection.attention import no_head
from lmstudio_app.inspection.comparison import Comparison, HeadPair, PairRequest, read_pair
from lmstudio_app.inspection.drawing import PictureStyle, save_figure
from lmstudio_app.inspection.picture import Subtitles
from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

FORMATS = (*drawing.FORMATS, "npz", "csv")


@dataclass(frozen=True, eq=False)
class SaveComparison:
    """The configuration of :func:`save_comparison`.

    ``place`` is that of a pair of layers and of a head; None: of the one that has changed most. ``names`` are what both
    are called. ``head_only``: a table has the cells of this head, and not a row for every head.
    """

    comparison: Comparison
    output: Path
    names: tuple[str, str]
    place: tuple[int, int] | None = None
    head_only: bool = False
    style: PictureStyle = field(default_factory=PictureStyle)


def check_comparison_format(output: Path) -> str:
    """The format that the name of a file asks for. Raises :class:`UserError` when there is no such format."""
    found = output.suffix.lower().removeprefix(".")
    if found not in FORMATS:
        raise UserError(
            "A comparison cannot be written to a file that ends in {suffix}.",
            "Choose a name that ends in .png, .svg or .pdf (a picture of one head) or .npz or .csv (numbers).",
            suffix=output.suffix or output.name,
        )
    return found


def find_head(comparison: Comparison, layer: int | None, head: int | None) -> tuple[int, int] | None:
    """The place of a layer (as the second model counts) and a head; None for both: None.

    One of both alone means the one of them that changed most. Raises :class:`UserError` when there is no such one.
    """
    if layer is None and head is None:
        return None
    layers = [pair[1] for pair in comparison.layers]
    if layer is not None and layer not in layers:
        raise UserError(
            "Layer {layer} is not compared.",
            "Choose one of the layers {layers}.",
            layer=layer,
            layers=", ".join(map(str, layers)),
        )
    for row, column in comparison.order():
        if layer in (None, layers[row]) and head in (None, column):
            return row, column
    assert head is not None
    raise no_head(head, range(comparison.heads))


def save_comparison(job: SaveComparison, ctx: JobContext) -> Path:
    """Write it (a job). Returns the file.

    - ``.npz``: ``divergence`` (bits), ``moved`` and ``difference`` float64 ``[layers, heads]`` of all heads;
      ``layers`` ``[layers, 2]``; of one head its ``place`` (row and column in these), and ``first``, ``second`` and
      ``second_minus_first`` float32 ``[query, key]``, NaN where there is no such token; ``first_queries`` and so on,
      the tokens along their sides, empty where there is none.
    - ``.csv``: a row for every head; or of one head a row for every cell.
    """
    form = check_comparison_format(job.output)
    comparison = job.comparison
    place = job.place or comparison.order()[0]
    needs_head = form != "csv" or job.head_only
    head = _read_head(comparison, place, ctx) if needs_head else None
    with atomic_path(job.output) as temporary, temporary.open("wb") as file:
        if head is None:
            _write_heads(file, comparison)
        elif form == "csv":
            _write_cells(file, comparison, head, ctx)
        elif form == "npz":
            _write_arrays(file, comparison, place, head)
        else:
            _draw(file, form, job, place, head, ctx)
        ctx.check()  # whoever cancels at the last moment keeps the old file
    ctx.status("Saved {path}", path=str(job.output))
    return job.output


def _read_head(comparison: Comparison, place: tuple[int, int], ctx: JobContext) -> HeadPair:
    return comparison.lay_out(read_pair(PairRequest(comparison, place[0]), ctx), place[1])


def head_name(comparison: Comparison, place: tuple[int, int]) -> str:
    """``Layer 3, head 9``, or which layers' means are compared."""
    first, second = comparison.layers[place[0]]
    if comparison.is_paired:
        return f"Layer {second}, head {place[1]}"
    return f"Layers {first} and {second}, mean of their heads"


def _draw(
    file: IO[bytes], form: str, job: SaveComparison, place: tuple[int, int], head: HeadPair, ctx: JobContext
) -> None:
    from lmstudio_app.inspection.comparison_picture import draw_comparison, panels_of

    comparison, (first, second) = job.comparison, job.names
    change = comparison.changes[place[0]][place[1]]
    captions = (
        "Each row is a token that looks (query), each column a token looked at (key). "
        "The difference is the second minus the first, of the tokens that both have.",
        f"{100 * change.moved:.1f} % of the attention has moved; "
        f"the Jensen-Shannon divergence is {change.divergence:.3f} bits.",
    )
    title = head_name(comparison, place)
    names = (f"A: {first}", f"B: {second}", "B minus A")
    figure = draw_comparison(panels_of(comparison, head), names, Subtitles(title, captions), job.style)
    ctx.check()
    save_figure(figure, file, form, title)


def _write_arrays(file: IO[bytes], comparison: Comparison, place: tuple[int, int], head: HeadPair) -> None:
    import numpy as np

    labels = {
        f"{name}_{side}": np.array(axis.labels(which), dtype=np.str_)
        for which, name in enumerate(("first", "second"))
        for side, axis in (("queries", comparison.queries), ("keys", comparison.keys))
    }
    np.savez(
        file,
        divergence=_measure(comparison, "divergence"),
        moved=_measure(comparison, "moved"),
        difference=_measure(comparison, "difference"),
        layers=np.array(comparison.layers),
        is_mean=np.array(not comparison.is_paired),
        place=np.array(place),
        first=head.first,
        second=head.second,
        second_minus_first=head.difference,
        **labels,  # type: ignore[arg-type]
    )


def _measure(comparison: Comparison, name: str) -> npt.NDArray[np.float64]:
    """``[layers, heads]``, NaN where a layer has fewer heads."""
    import numpy as np

    found = np.full((len(comparison.layers), comparison.heads), np.nan)
    for row, heads in enumerate(comparison.changes):
        for column, change in enumerate(heads):
            found[row, column] = getattr(change, name)
    return found


def _write_heads(file: IO[bytes], comparison: Comparison) -> None:
    rows = [
        (*pair, column if comparison.is_paired else "mean", change.divergence, change.moved, change.difference)
        for pair, heads in zip(comparison.layers, comparison.changes, strict=True)
        for column, change in enumerate(heads)
    ]
    columns = ("first_layer", "second_layer", "head", "divergence_bits", "moved", "mean_difference")
    _write_rows(file, columns, iter(rows))


def _write_cells(file: IO[bytes], comparison: Comparison, head: HeadPair, ctx: JobContext) -> None:
    queries, keys = comparison.queries, comparison.keys
    names = [(queries.labels(which), keys.labels(which)) for which in (0, 1)]

    def rows() -> Iterator[tuple[object, ...]]:
        for query in range(len(queries)):
            ctx.check()
            for key in range(len(keys)):
                values = [float(weights[query, key]) for weights in (head.first, head.second, head.difference)]
                tokens = [side[place] for of in names for side, place in zip(of, (query, key), strict=True)]
                yield (query, key, *tokens, *("" if value != value else value for value in values))

    tokens = ("first_query", "first_key", "second_query", "second_key")
    _write_rows(file, ("query", "key", *tokens, "first", "second", "second_minus_first"), rows())


def _write_rows(file: IO[bytes], columns: tuple[str, ...], rows: Iterator[tuple[object, ...]]) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(rows)
    text.flush()
    text.detach()
