"""What the overview says about heads, in plain words."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication

from lmstudio_app.gui.text import number_text
from lmstudio_app.inspection.reading import Reading
from lmstudio_app.inspection.statistics import HeadStatistics


def pattern_titles() -> dict[str, str]:
    """In the order in which they are shown."""
    return {
        "diagonal": _tr("Itself"),
        "previous": _tr("Previous"),
        "next": _tr("Next"),
        "first": _tr("First"),
        "separator": _tr("Separators"),
        "broad": _tr("Broad"),
        "mixed": _tr("Mixed"),
    }


def pattern_tips() -> dict[str, str]:
    return {
        "diagonal": _tr("Heads in which tokens look mostly at themselves"),
        "previous": _tr("Heads in which tokens look mostly at the one before them"),
        "next": _tr("Heads in which tokens look mostly at the one after them"),
        "first": _tr(
            "Heads in which tokens look mostly at the first one. It is a place to rest for heads that find nothing."
        ),
        "separator": _tr(
            "Heads in which tokens look mostly at separators: [SEP] and the like, commas, full stops. They are places "
            "to rest for heads that find nothing."
        ),
        "broad": _tr("Heads in which tokens look at nearly everything evenly"),
        "mixed": _tr("Heads without a simple habit: often those that follow the meaning"),
    }


def order_titles() -> dict[str, str]:
    return {
        "layer": _tr("Layer and head"),
        "entropy": _tr("Spread (entropy)"),
        "distance": _tr("Distance"),
        "special": _tr("Share on special tokens"),
        "pattern": _tr("Pattern"),
        "strength": _tr("Strength of the pattern"),
    }


def order_ends(order: str) -> tuple[str, str]:
    """What comes first, and what comes first in the reversed order."""
    ends = {
        "layer": (_tr("The first layer first"), _tr("The last layer first")),
        "entropy": (_tr("Heads with the narrowest look first"), _tr("Heads with the widest look first")),
        "distance": (_tr("Heads that look nearby first"), _tr("Heads that look far first")),
        "special": (_tr("The smallest share first"), _tr("The largest share first")),
        "pattern": (_tr("Simple patterns first"), _tr("Mixed heads first")),
        "strength": (_tr("The faintest pattern first"), _tr("The clearest pattern first")),
    }
    return ends[order]


def measure_texts() -> dict[str, tuple[str, str, str]]:
    """Name, explanation and unit of what can be limited."""
    return {
        "entropy": (
            _tr("Spread"),
            _tr("How widely tokens look (entropy): 0 bits is one token, each bit more is twice as many"),
            _tr(" bits"),
        ),
        "distance": (_tr("Distance"), _tr("How many tokens away tokens look, on average"), _tr(" tokens")),
        "special": (
            _tr("On special tokens"),
            _tr("The share of the attention that goes to [CLS], [SEP], <s> and the like"),
            _tr(" %"),
        ),
        "strength": (_tr("Strength"), _tr("The share of the attention that follows the head's pattern"), _tr(" %")),
    }


def describe_head(reading: Reading, row: int, column: int) -> str:
    """Everything that is known about a head, a line each; its name alone where a layer has fewer heads."""
    lines = [_tr("Layer {layer}, head {head}").format(layer=reading.layers[row], head=column)]
    if column < len(reading.overview.statistics[row]):
        found = reading.overview.statistics[row][column]
        lines.append(_pattern_line(reading, found))
        lines.append(
            _tr("It looks as widely as at {count} tokens evenly (entropy {bits} bits)").format(
                count=number_text(2**found.entropy, 1), bits=number_text(found.entropy, 2)
            )
        )
        if found.distance is not None:
            lines.append(_tr("{count} tokens away on average").format(count=number_text(found.distance, 1)))
        if any(reading.keys.special):
            lines.append(_tr("{share} % goes to special tokens").format(share=percent(found.special_share)))
        lines.append(
            _tr("Strongest: “{query}” looks at “{key}” ({weight})").format(
                query=reading.queries.labels[found.query],
                key=reading.keys.labels[found.key],
                weight=f"{found.strongest:.2f}",
            )
        )
    return "\n".join(lines)


def _pattern_line(reading: Reading, found: HeadStatistics) -> str:
    lines = {
        "diagonal": _tr("Tokens look mostly at themselves: {share} % of the attention"),
        "previous": _tr("Tokens look mostly at the one before: {share} % of the attention"),
        "next": _tr("Tokens look mostly at the one after: {share} % of the attention"),
        "first": _tr("Tokens look mostly at the first one, “{first}”: {share} % of the attention"),
        "separator": _tr("Tokens look mostly at separators: {share} % of the attention"),
        "broad": _tr("Tokens look at nearly everything: {share} % of an even spread"),
        "mixed": _tr("No simple pattern: the clearest takes {share} % of the attention"),
    }
    return lines[found.pattern].format(share=percent(found.pattern_share), first=reading.keys.labels[0])


def percent(share: float) -> str:
    return number_text(round(100 * share))


def _tr(text: str) -> str:
    return QCoreApplication.translate("HeadOverview", text)
