"""Which column of a table feeds which input of a task: declared, guessed, corrected by hand."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmstudio_app.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

_SAMPLE = 1000  # rows looked at when names do not tell
_MOST_LABELS = 50  # distinct values beyond which a column is no label


@dataclass(frozen=True)
class ColumnSpec:
    """An input a task wants. ``aliases`` are the names data sets commonly give such a column, best first."""

    name: str
    title: str
    help: str
    type: str = "text"  # "text" or "label"
    required: bool = True
    aliases: tuple[str, ...] = ()


def _plain(name: str) -> str:
    return re.sub(r"[\s_\-.]+", "_", name.strip().lower()).strip("_")


def nearest(name: str, choices: Sequence[str]) -> str | None:
    """The choice that ``name`` is probably a misspelling of."""
    plain = {_plain(choice): choice for choice in reversed(choices)}
    found = difflib.get_close_matches(_plain(name), list(plain), n=1, cutoff=0.6)
    return plain[found[0]] if found else None


@dataclass(frozen=True)
class _Content:
    """What a sample of a column looks like."""

    distinct: int
    mean_length: float  # characters
    rows: int

    @property
    def is_label(self) -> bool:
        few = 2 <= self.distinct <= min(_MOST_LABELS, max(2, self.rows // 2))
        return few and self.mean_length <= 40


def _look(dataset: Dataset, names: Sequence[str]) -> dict[str, _Content]:
    if not names or not len(dataset):
        return {}
    step = max(1, len(dataset) // _SAMPLE)  # spread over the file: many are sorted by label
    sample = dataset.select(range(0, len(dataset), step)).select_columns(list(names))[:]
    found = {}
    for name in names:
        values = [str(value) for value in sample[name] if value is not None and str(value).strip()]
        length = sum(map(len, values)) / len(values) if values else 0.0
        found[name] = _Content(len(set(values)), length, len(values))
    return found


def _by_name(spec: ColumnSpec, free: Sequence[str]) -> str | None:
    plain: dict[str, str] = {}
    for column in free:
        plain.setdefault(_plain(column), column)
    for alias in (spec.name, *spec.aliases):
        if _plain(alias) in plain:
            return plain[_plain(alias)]
    return None


def _by_content(spec: ColumnSpec, free: Sequence[str], content: Mapping[str, _Content]) -> str | None:
    if spec.type == "label":
        labels = [name for name in free if name in content and content[name].is_label]
        return min(labels, key=lambda name: (content[name].distinct, content[name].mean_length), default=None)
    texts = [name for name in free if name in content and content[name].distinct > 1 and content[name].mean_length > 0]
    texts = texts or [name for name in free if name in content and content[name].mean_length > 0]
    return max(texts, key=lambda name: content[name].mean_length, default=None)


def guess_columns(table: Dataset | Sequence[str], wanted: Sequence[ColumnSpec]) -> dict[str, str]:
    """Map every wanted input to a column: by name and aliases, then (with a data set) by content.

    Inputs that are not found are left out; :func:`resolve_columns` raises for the required ones. Labels are looked
    for before texts, so that a short text column is not taken for one.
    """
    is_names = isinstance(table, list | tuple)
    names: list[str] = list(table) if is_names else list(table.column_names)  # type: ignore[union-attr]
    found: dict[str, str] = {}
    for spec in wanted:
        column = _by_name(spec, [name for name in names if name not in found.values()])
        if column is not None:
            found[spec.name] = column
    missing = [spec for spec in wanted if spec.name not in found and spec.required]
    free = [name for name in names if name not in found.values()]
    content = {} if is_names or not missing else _look(table, free)
    first = "text" if len(free) == 1 else "label"
    for spec in sorted(missing, key=lambda spec: spec.type != first):
        column = _by_content(spec, free, content)
        if column is None and spec.type == "text" and len(free) == 1:
            column = free[0]
        if column is not None:
            found[spec.name] = column
            free.remove(column)
    return {spec.name: found[spec.name] for spec in wanted if spec.name in found}


def resolve_columns(
    dataset: Dataset, wanted: Sequence[ColumnSpec], mapping: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The mapping as the user gave it, completed by guesses.

    Raises :class:`UserError` for an input the task does not have, a column the table does not have (with the nearest
    name), and a required input that nothing was found for.
    """
    mapping = dict(mapping or {})
    names: list[str] = list(dataset.column_names)
    inputs = [spec.name for spec in wanted]
    for name, column in mapping.items():
        if name not in inputs:
            _raise_unknown("The task has no input {name}.", name, inputs)
        if column not in names:
            _raise_unknown("The data has no column {name}.", column, names)
    guessed = guess_columns(dataset, wanted)
    taken = set(mapping.values())
    found: dict[str, str] = {}
    for spec in wanted:
        if spec.name in mapping:
            found[spec.name] = mapping[spec.name]
        elif guessed.get(spec.name) is not None and guessed[spec.name] not in taken:
            found[spec.name] = guessed[spec.name]
        elif spec.required:
            raise UserError(
                "No column for {name} was found among: {names}.",
                'Say which one it is, for example data.columns: {{{name}: "{example}"}}.',
                name=spec.name,
                names=", ".join(names),
                example=names[0] if names else "",
            )
    return found


def _raise_unknown(template: str, name: str, choices: Sequence[str]) -> None:
    close = nearest(name, choices)
    parameters: dict[str, Any] = {"name": name, "names": ", ".join(choices)}
    if close is None:
        raise UserError(template, "There are: {names}.", **parameters)
    raise UserError(template, "Did you mean {nearest}? There are: {names}.", nearest=close, **parameters)
