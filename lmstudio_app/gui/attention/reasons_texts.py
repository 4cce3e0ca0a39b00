"""What the view of reasons says: its methods, its question, and what the numbers add up to."""

from __future__ import annotations

import math

from PySide6.QtCore import QCoreApplication

from lmstudio_app.gui.attention.reasons_table import signed_text
from lmstudio_app.gui.text import number_text
from lmstudio_app.gui.widgets.try_candidates import share_text
from lmstudio_app.inspection.attribution import ATTENTION, GRADIENT, INTEGRATED, Attribution
from lmstudio_app.inspection.attribution_gradients import TOLERANCE
from lmstudio_app.inspection.attribution_outputs import COSINE, LOG_ODDS


def _tr(text: str) -> str:
    return QCoreApplication.translate("ReasonsView", text)


def methods() -> tuple[tuple[str, str, str], ...]:
    """(method, title, tip)."""
    return (
        (
            INTEGRATED,
            _tr("Integrated gradients"),
            _tr("What each token adds on the way from the text with every word hidden to the text; sums up"),
        ),
        (
            GRADIENT,
            _tr("Gradient × input"),
            _tr("What a tiny change of each token would change; quick, and blind to what is settled"),
        ),
        (
            ATTENTION,
            _tr("Attention × gradient"),
            _tr("The attention that the answer depends on, followed through the layers; never against"),
        ),
    )


def question(found: Attribution) -> str:
    if found.kind == "similarity":
        return _tr("Why is the text similar to “{answer}” (cosine {value})?").format(
            answer=found.answer, value=number_text(found.value, 2)
        )
    share = share_text(found.probability or 0.0)
    if found.kind == "next":
        text = _tr("Why does “{answer}” come next ({share})?")
    elif found.kind == "span":
        text = _tr("Why is “{answer}” the answer ({share})?")
    elif found.kind == "label" and found.explained is not None:
        text = _tr("Why is “{token}” labelled “{answer}” ({share})?")
    elif found.kind == "label":
        text = _tr("Why “{answer}” ({share})?")
    elif found.seen > (found.explained or 0):
        text = _tr("Why “{answer}” in this gap ({share})?")
    else:
        text = _tr("Why “{answer}” here, after what stands before it ({share})?")
    token = found.tokens.labels[found.explained] if found.explained is not None else ""
    return text.format(answer=found.answer, share=share, token=token)


def hint(found: Attribution) -> str:
    if not any(found.choosable):
        return ""
    if found.kind == "next":
        return _tr("Click a token of the text to ask why that one stands there.")
    if found.seen > (found.explained or 0) and found.kind == "word":
        return _tr("The word is hidden from the model. Click another one to ask about that.")
    return _tr("Click another token to ask about that one.")


def sum_text(found: Attribution, method: str) -> str:
    """What the numbers of a method are, and for integrated gradients whether they add up."""
    unit = {
        LOG_ODDS: _tr("log-odds (0 stands for 50 %, +2.2 for 90 %, −2.2 for 10 %)"),
        COSINE: _tr("cosine (1 stands for the same direction)"),
    }.get(found.unit, _tr("logarithm of the probability (0 stands for 100 %, −0.7 for 50 %)"))
    if method == ATTENTION:
        return _tr("Shares of attention, weighted by what the answer depends on: larger is more; no sum, no unit.")
    if method == GRADIENT:
        return _tr("In {unit}. They need not add up to anything.").format(unit=unit)
    if found.baseline is None or found.error is None:
        return ""
    change = found.value - found.baseline
    if abs(found.error) > max(0.02, 2 * TOLERANCE * abs(change)):
        return _tr(
            "The sum is off by {error} of {change}, even with {steps} points between the hidden and the whole text: do "
            "not rely on these numbers."
        ).format(error=signed_text(found.error), change=signed_text(change), steps=found.steps)
    before, after = _level(found.baseline, found.unit), _level(found.value, found.unit)
    return _tr(
        "With the words hidden: {before}; with them: {after}. The tokens make the difference of {change} (error "
        "{error}, {steps} points), in {unit}."
    ).format(
        before=before,
        after=after,
        change=signed_text(change),
        error=signed_text(found.error),
        steps=found.steps,
        unit=unit,
    )


def _level(value: float, unit: str) -> str:
    if unit == COSINE:
        return number_text(value, 2)
    if unit == LOG_ODDS:
        return share_text(1 / (1 + math.exp(-max(-700.0, min(700.0, value)))))
    return share_text(math.exp(min(0.0, value)))


def note() -> tuple[str, ...]:
    return (
        _tr(
            "<b>Integrated gradients</b> (Sundararajan, Taly and Yan 2017) go in small steps from the text with every "
            "word hidden to the text, and add up what each word changes on the way. The shares make the whole "
            "difference, which is checked; but another way to hide words would give others. Of a model that reads from "
            "left to right the first token stays, because its heads rest on it."
        ),
        _tr(
            "<b>Gradient × input</b> (Shrikumar et al. 2016) asks what a tiny change of each token would do. It is "
            "quick, and misses what is so clear already that a little less of it changes nothing."
        ),
        _tr(
            "<b>Attention × gradient</b> (Chefer, Gur and Wolf 2021) follows the attention weights that the answer "
            "depends on through all layers. It tells what was used, and not whether it spoke for or against."
        ),
        _tr(
            "Attention alone is not explanation: other weights can lead to the same answer (Jain and Wallace 2019). "
            "That does not make it useless (Wiegreffe and Pinter 2019). None of the three proves a cause. Where they "
            "disagree, change the word and ask the model again."
        ),
    )
