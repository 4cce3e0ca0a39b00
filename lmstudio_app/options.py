"""Fields that describe themselves: one line of help and limits a field, from which forms and ``--help`` are built."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import field
from typing import Any

from lmstudio_app.errors import UserError


def option(
    default: Any,
    title: str,
    help: str,
    *,
    basic: bool = False,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: Sequence[str] | None = None,
    only: Sequence[str] | None = None,
    wide: bool = False,
) -> Any:
    """A dataclass field with what a form needs: title, help line, limits or choices, shown first or folded.

    ``only`` names the values of the section's field ``name`` for which this field means anything; a form hides it else.
    A ``wide`` field has a line of its own.
    """
    metadata = {
        "title": title,
        "help": help,
        "basic": basic,
        "minimum": minimum,
        "maximum": maximum,
        "choices": tuple(choices) if choices else None,
        "only": tuple(only) if only else None,
        "wide": wide,
    }
    return field(default=default, metadata=metadata)


def check_options(config: Any, section: str) -> None:
    """Check every field of a frozen dataclass against its metadata. Raises :class:`UserError`."""
    for item in dataclasses.fields(config):
        value, meta, name = getattr(config, item.name), item.metadata, f"{section}.{item.name}"
        if meta.get("choices") and value not in meta["choices"]:
            raise UserError(
                "{name} cannot be {value}.", "Choose one of: {choices}.",
                name=name, value=value, choices=", ".join(meta["choices"]),
            )  # fmt: skip
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError("{name} is {value}.", "It must be a finite number.", name=name, value=value)
        low, high = meta.get("minimum"), meta.get("maximum")
        if low is not None and value < low:
            raise UserError("{name} is {value}.", "It must be at least {low}.", name=name, value=value, low=low)
        if high is not None and value > high:
            raise UserError("{name} is {value}.", "It must be at most {high}.", name=name, value=value, high=high)


def parse_numbers(text: str | None, name: str) -> tuple[int, ...] | None:
    """``0,5``, ``2-4`` or both to numbers in order; ``all`` or nothing to None.

    Raises :class:`UserError`, which says that ``name`` cannot be read.
    """
    if text is None or text.strip() == "all":
        return None
    numbers: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not (first.isdecimal() and (last.isdecimal() if dash else True)) or (dash and int(last) < int(first)):
            raise UserError(
                "{option} cannot be read: {text}", "Write numbers such as 0,5 or 2-4, or all.", option=name, text=text
            )
        numbers.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(numbers))
