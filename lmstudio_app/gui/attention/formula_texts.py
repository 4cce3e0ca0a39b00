"""The formula of a head in words."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication

from lmstudio_app.inspection.formula import HeadFormula

_ROUNDING = 1e-5  # what numbers of 32 bits cost, over the hundreds of them that make a weight


def title(formula: HeadFormula) -> str:
    """How large it is, whose keys it uses, and which rows are shown."""
    size, other = formula.key.shape[1], formula.value.shape[1]
    text = _tr("{size} numbers a token")
    if size != other:
        text = _tr("{size} numbers a query or key, {other} a value")
    parts = [text.format(size=size, other=other)]
    if formula.is_shared:
        parts.append(
            _tr("K and V (number {key_head}) serve heads {first} to {last}").format(
                key_head=formula.key_head, first=formula.sharers[0], last=formula.sharers[-1]
            )
        )
    if not formula.is_whole:
        parts.append(
            _tr("rows {first} to {last} of {count}").format(
                first=f"{formula.rows[0]:,}", last=f"{formula.rows[-1]:,}", count=f"{len(formula.queries):,}"
            )
        )
    return "; ".join(parts)


def difference(largest: float) -> str:
    """How far our weights are from the model's, and what that means."""
    number = _power(largest)
    if largest <= _ROUNDING:
        return _tr(
            "Largest difference between these weights and the model's own: {number}. Both were worked out separately; "
            "what is left is the rounding of numbers, so this is what the model does."
        ).format(number=number)
    return _tr(
        "Largest difference between these weights and the model's own: {number}. That is more than rounding: this "
        "model does something to its scores that the formula here leaves out."
    ).format(number=number)


def _power(value: float) -> str:
    """``3·10⁻⁸``."""
    if value == 0:
        return "0"
    digits, power = f"{value:.0e}".split("e")
    raised = str(int(power)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{digits}·10{raised}"


def symbols() -> tuple[str, ...]:
    """Each symbol in a line; a table of two columns, to be low."""
    lines = (
        _tr("<b>Q</b>, the queries: a row for each token, in numbers that say what it looks for."),
        _tr("<b>K</b>, the keys: in the same numbers, what each token can be found by. <b>Kᵀ</b> is K on its side."),
        _tr("<b>d</b>, the length of a key. Long keys make large sums; dividing by √d keeps scores in bounds."),
        _tr("<b>S</b>, the scores: how well each query fits each key. Any number, also less than 0."),
        _tr("<b>M</b>, the mask: −∞ where a token may not be seen, 0 elsewhere. Not every model has one."),
        _tr("<b>softmax</b> turns the scores of a row into shares: e to the power of each, divided by their sum."),
        _tr("<b>A</b>, the weights: these shares. This is what the other views of attention show."),
        _tr("<b>V</b>, the values: what each token hands on to those that look at it."),
        _tr("<b>O</b>, the output: for each token, the values of all others mixed by its row of weights."),
        _tr("All of it is equation 1 of Vaswani et al. 2017, “Attention is all you need”."),
    )
    half = (len(lines) + 1) // 2
    cell = "<td width='50%' style='padding-right: 12px'>{}</td>"
    rows = zip(lines[:half], lines[half:], strict=True)
    return (f"<table>{''.join(f'<tr>{cell.format(left)}{cell.format(right)}</tr>' for left, right in rows)}</table>",)


def _tr(text: str) -> str:
    return QCoreApplication.translate("Formula", text)
