"""What stands in the formula of a head, from left to right, each part with its words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import QCoreApplication

from lmstudio_app.inspection.formula import HeadFormula
from lmstudio_app.inspection.scales import Scaled, scale_signed, scale_to, scale_weights

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from lmstudio_app.inspection.scales import Numbers, Shades

# what runs along the side of a matrix
QUERY, KEY, FEATURE, VALUE = "query", "key", "feature", "value"
_LOUDEST = 0.995  # of all numbers that are drawn in shades; the few beyond would make the rest pale


@dataclass(frozen=True)
class Term:
    """A matrix. ``name`` is also that of its field in :class:`HeadFormula`."""

    name: str
    symbol: str
    title: str
    caption: str
    rows: str
    columns: str
    rows_named: bool = False  # tokens are written down its left side
    columns_named: bool = False  # and, if there is room, along its top


@dataclass(frozen=True)
class Sign:
    """What is done between two matrices: a line or two of signs, and a sentence about them."""

    text: str
    below: str
    tip: str


def terms_of(formula: HeadFormula) -> tuple[tuple[Term | Sign, ...], tuple[Term | Sign, ...]]:
    """The two lines of the formula: how scores come about, and what is made of them."""
    first: list[Term | Sign] = [
        Term("query", "Q", _tr("queries"), _tr("what it looks for"), QUERY, FEATURE, rows_named=True),
        Sign("×", "", _tr("Every query is compared with every key: the products of their numbers are added up")),
        Term("key", "Kᵀ", _tr("keys, turned"), _tr("what it is found by"), FEATURE, KEY, columns_named=True),
        Sign(*_scale(formula)),
        Term("scores", "S", _tr("scores"), _tr("how well they fit"), QUERY, KEY, columns_named=True),
    ]
    summands = ["S"]
    if formula.softcap is not None:
        summands = [_tr("cap(S)")]
    if formula.bias is not None:
        summands.append("B")
        first += [
            Sign("+", "", _tr("This model adds to each score what the distance of the two tokens is worth")),
            Term("bias", "B", _tr("position bias"), _tr("what the distance adds"), QUERY, KEY),
        ]
    if formula.mask.any():
        summands.append("M")
        first += [
            Sign("+", "", _tr("A score that may not count gets −∞ added to it, which makes its share 0")),
            Term("mask", "M", _tr("mask"), _mask_caption(formula), QUERY, KEY),
        ]
    inside = " + ".join(summands)
    tip = _tr("Each score x becomes eˣ, divided by the sum over its row: shares that are positive and add up to 1")
    if formula.sink is not None:
        tip = _tr(
            "Each score x becomes eˣ, divided by the sum over its row and over a sink, a learned score of {sink} that "
            "stands for looking at nothing: shares that are positive and add up to less than 1"
        ).format(sink=signed(formula.sink))
    second: tuple[Term | Sign, ...] = (
        Sign(_tr("softmax"), f"({inside}) =", tip),
        Term(
            "weights",
            "A",
            _tr("weights"),
            _tr("each row shares out 1") if formula.sink is None else _tr("shares out 1, less the sink"),
            QUERY,
            KEY,
            rows_named=True,
            columns_named=True,
        ),
        Sign(
            "×", "", _tr("Each row of the weights mixes the rows of V: much of those it looks at, little of the others")
        ),
        Term("value", "V", _tr("values"), _tr("what it hands on"), KEY, VALUE, rows_named=True),
        Sign("=", "", _tr("What this head hands to the rest of its layer")),
        Term("output", "O", _tr("output"), _tr("what it takes along"), QUERY, VALUE),
    )
    return tuple(first), second


def matrix_of(formula: HeadFormula, term: Term) -> Numbers:
    """As it is drawn: keys stand on their side."""
    matrix: Numbers = getattr(formula, term.name)
    return matrix.T if term.name == "key" else matrix


def shades_of(formula: HeadFormula, term: Term, scale: str) -> Scaled:
    """Places in a colour map: weights as ``scale`` says, the mask in two shades, all else around 0."""
    import numpy as np

    matrix = matrix_of(formula, term)
    if term.name == "mask":
        return scale_to(matrix.astype(np.float32), 1.0)
    if term.name == "weights":
        return scale_weights(matrix, "head" if scale == "difference" else scale)
    loudness = np.abs(matrix)
    return scale_signed(np.ascontiguousarray(matrix), float(np.quantile(loudness, _LOUDEST)) or float(loudness.max()))


def mask_colours(seen: tuple[int, int, int], hidden: tuple[int, int, int]) -> Shades:
    """A colour map of two."""
    import numpy as np

    lut: npt.NDArray[np.uint8] = np.tile(np.array(seen, dtype=np.uint8), (256, 1))
    lut[1:] = hidden
    return lut


def signed(value: float, digits: int = 3) -> str:
    """With a minus sign of the width of a plus."""
    return f"{value:.{digits}f}".replace("-", "−")


def scale_text(formula: HeadFormula) -> str:
    """``÷ √32``, or what this model has in its place."""
    size = formula.key.shape[1]
    return f"÷ √{size}" if formula.is_usual_scale else f"× {formula.scale:.4g}"


def _scale(formula: HeadFormula) -> tuple[str, str, str]:
    size = formula.key.shape[1]
    if formula.is_usual_scale:
        tip = _tr(
            "Each sum of {size} products is divided by √{size}, so that scores do not grow with the length of a key"
        ).format(size=size)
    elif formula.scale == 1:
        tip = _tr("This model does not divide the sums by √{size}: it has learned to do without").format(size=size)
    else:
        tip = _tr("This model multiplies the sums by {scale}, where the usual is 1/√{size} = {usual}").format(
            scale=f"{formula.scale:.4g}", size=size, usual=f"{size**-0.5:.4g}"
        )
    return scale_text(formula), "=", tip


def _mask_caption(formula: HeadFormula) -> str:
    if formula.reach is not None and formula.looks_back_only:
        return _tr("shaded: later, or over {count} tokens back").format(count=formula.reach)
    if formula.reach is not None:
        return _tr("shaded: over {count} tokens away").format(count=formula.reach)
    if formula.looks_back_only:
        return _tr("shaded: comes later")
    return _tr("shaded: may not be seen")


def _tr(text: str) -> str:
    return QCoreApplication.translate("Formula", text)
