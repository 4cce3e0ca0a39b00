"""A comparison in words."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication

from lmstudio_app.gui.attention.compare_input import MODELS
from lmstudio_app.gui.attention.compare_work import Plan
from lmstudio_app.gui.text import number_text
from lmstudio_app.inspection.comparison import Comparison, HeadPair
from lmstudio_app.inspection.token_matching import DIFFERS

Place = tuple[int, int]  # row (a pair of layers), column (a head)
_NOTHING = 5e-4  # of the attention: less is not said to have moved


def _tr(text: str) -> str:
    return QCoreApplication.translate("compare", text)


def name_of(comparison: Comparison, place: Place) -> str:
    """``Layer 3, head 9``; or which layers' means are compared."""
    first, second = comparison.layers[place[0]]
    if comparison.is_paired:
        return _tr("Layer {layer}, head {head}").format(layer=second, head=place[1])
    if first == second:
        return _tr("Layer {layer}, mean of all heads").format(layer=second)
    return _tr("Layer {first} of A and {second} of B, mean of all heads").format(first=first, second=second)


def headline(comparison: Comparison) -> str:
    """What has changed most."""
    place = comparison.order()[0]
    change = comparison.changes[place[0]][place[1]]
    if change.moved < _NOTHING:
        return _tr("Nothing has changed: A and B look at the same tokens.")
    text = _tr("{head} changed most: {share} % of its attention goes to other tokens. {example}")
    return text.format(
        head=name_of(comparison, place),
        share=number_text(100 * change.moved, 1 if change.moved < 0.1 else 0),
        example=_example(comparison, place),
    )


def _example(comparison: Comparison, place: Place) -> str:
    """The cell that differs most."""
    change = comparison.changes[place[0]][place[1]]
    text = _tr("“{query}” looks more at “{key}”: {before} in A, {after} in B.")
    if change.after < change.before:
        text = _tr("“{query}” looks less at “{key}”: {before} in A, {after} in B.")
    return text.format(
        query=comparison.queries.labels(1)[change.query],
        key=comparison.keys.labels(1)[change.key],
        before=number_text(change.before, 2),
        after=number_text(change.after, 2),
    )


def figures(comparison: Comparison, place: Place) -> str:
    """How far one head has moved."""
    change = comparison.changes[place[0]][place[1]]
    return _tr("{share} % of its attention has moved (divergence {bits} bits)").format(
        share=number_text(100 * change.moved, 1),
        bits=number_text(change.divergence, 3 if change.divergence >= 0.01 else 5),
    )


def describe(comparison: Comparison, place: Place) -> str:
    """The tooltip of a thumbnail."""
    if place[1] >= len(comparison.changes[place[0]]):
        return _tr("This layer has no head {head}.").format(head=place[1])
    change = comparison.changes[place[0]][place[1]]
    lines = [name_of(comparison, place), figures(comparison, place)]
    if change.moved >= _NOTHING:
        lines.append(_example(comparison, place))
    return "\n".join(lines)


def measures_explained() -> str:
    return _tr(
        "Attention moved: the share that a token gives to other tokens than in A, in the mean over all tokens.\n"
        "Divergence: the Jensen-Shannon divergence, by which the heads are sorted. 0 bits: A and B look at the same; "
        "1 bit: at nothing in common."
    )


def notes(plan: Plan, comparison: Comparison) -> list[str]:
    """What one has to know to read it right."""
    found = []
    if comparison.queries.by_words:
        found.append(_tr("The two models cut the text into different pieces, so whole words are compared."))
    if not comparison.is_paired:
        found.append(
            _tr(
                "They have different numbers of layers or heads, so the mean over the heads of a layer is compared "
                "with that of the layer at the same depth of the other."
            )
        )
    elif plan.mode == MODELS:
        found.append(
            _tr("If one of the models did not come from the other, head 3 of the one may do what another head does.")
        )
    if not (comparison.queries.is_same and comparison.keys.is_same):
        common = len(comparison.keys.common)
        found.append(
            _tr(
                "{common} tokens stand in both and are compared, with the weights they have; “{sign}” marks the others."
            ).format(common=number_text(common), sign=DIFFERS)
        )
    return found


def cell_text(comparison: Comparison, head: HeadPair, cell: tuple[int, int]) -> str:
    """The weights of a cell in both maps."""
    parts = []
    for letter, which, weights in (("A", 0, head.first), ("B", 1, head.second)):
        query, key = comparison.queries.labels(which)[cell[0]], comparison.keys.labels(which)[cell[1]]
        weight = float(weights[cell])
        if weight != weight:
            parts.append(_tr("{letter}: no such token").format(letter=letter))
            continue
        parts.append(
            _tr("{letter}: “{query}” looks at “{key}” with {weight}").format(
                letter=letter, query=query, key=key, weight=number_text(weight, 4)
            )
        )
    difference = float(head.difference[cell])
    if difference == difference:
        sign = "+" if difference > 0 else "−" if difference < 0 else ""
        parts.append(_tr("B − A: {difference}").format(difference=sign + number_text(abs(difference), 4)))
    return "  ·  ".join(parts)
