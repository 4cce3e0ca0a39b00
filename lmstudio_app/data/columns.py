"""Which column of a table feeds which input of a task: declared, guessed, corrected by hand."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ColumnSpec:
    """An input a task wants. ``aliases`` are the names data sets commonly give such a column, best first."""

    name: str
    title: str
    help: str
    type: str = "text"  # "text" or "label"
    required: bool = True
    aliases: tuple[str, ...] = ()
