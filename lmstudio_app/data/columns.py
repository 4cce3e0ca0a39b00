"""Which column of a table feeds which input of a task: declared, guessed, corrected by hand."""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmstudio_app.data.answers import is_answers
from lmstudio_app.data.chats import parse_messages
from lmstudio_app.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

_SAMPLE = 1000  # rows looked at when names do not tell
_READ = 20  # values that are read as JSON
_MOST_LABELS = 50  # distinct values beyond which a column is no label


TYPES = ("text", "label", "choice", "document", "messages", "answers")
EXAMPLE_TYPES = ("text", "document", "messages")  # what rows are compared by when duplicates are looked for
ROLE_NEEDED = ("user", "assistant")


@dataclass(frozen=True)
class ColumnSpec:
    """An input a task wants. ``aliases`` are the names data sets commonly give such a column, best first.

    ``type`` says what is in it, and what :func:`lmstudio_app.data.splits.prepare_data` makes of it:

    ``text``      a text an example; a string
    ``label``     the class; a number or a string, as it is in the file
    ``choice``    a short value that is no example text, such as a language code; a string
    ``document``  running text, whose rows stay in order; a string, and in a further column ``document`` the number of
                  the document that the row belongs to (int64, never falling)
    ``messages``  a chat; a list of ``{"role", "content"}``
    ``answers``   the answers to a question, and where in the text of the input ``context`` they begin (in characters);
                  ``{"text": [...], "answer_start": [...]}``, both empty where there is no answer

    A task with ``messages`` can also be given them as single texts: columns with a ``role`` ("system", "user",
    "assistant") become the messages of that role, in this order; ``prepare_data`` makes ``messages`` of either form.
    Such a task needs ``messages``, or a user's and an assistant's column; none of them is ``required`` by itself.
    """

    name: str
    title: str
    help: str
    type: str = "text"
    required: bool = True
    aliases: tuple[str, ...] = ()
    role: str = ""

    def __post_init__(self) -> None:
        if self.type not in TYPES:
            raise ValueError(f"there is no type {self.type} of columns")


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
    form: str = ""  # "messages" or "answers", if its values can be read as such
    is_number: bool = False

    @property
    def is_text(self) -> bool:
        return not self.form and not self.is_number

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
        is_number = not str(dataset.features[name].dtype).endswith("string")
        found[name] = _Content(len(set(values)), length, len(values), _form(values[:_READ]), is_number)
    return found


def _form(values: Sequence[str]) -> str:
    """What values that are written in JSON hold."""
    if not values or not all(value.lstrip()[:1] in ("[", "{") for value in values):
        return ""
    if all(_is_chat(value) for value in values):
        return "messages"
    return "answers" if all(is_answers(value) for value in values) else ""


def _is_chat(value: str) -> bool:
    with contextlib.suppress(ValueError):
        return bool(parse_messages(value))
    return False


def _by_name(spec: ColumnSpec, free: Sequence[str]) -> str | None:
    plain: dict[str, str] = {}
    for column in free:
        plain.setdefault(_plain(column), column)
    for alias in (spec.name, *spec.aliases):
        if _plain(alias) in plain:
            return plain[_plain(alias)]
    return None


def _by_content(spec: ColumnSpec, free: Sequence[str], content: Mapping[str, _Content]) -> str | None:
    known = [name for name in free if name in content]
    if spec.type in ("label", "choice"):
        labels = [name for name in known if content[name].is_label]
        return min(labels, key=lambda name: (content[name].distinct, content[name].mean_length), default=None)
    if spec.type in ("messages", "answers"):
        return next((name for name in known if content[name].form == spec.type), None)
    texts = _longest(known, content)
    return texts[0] if texts else None


def _longest(names: Sequence[str], content: Mapping[str, _Content]) -> list[str]:
    """The columns that hold texts, the longest texts first; the ones in which all rows are equal only if need be."""
    texts = [name for name in names if content[name].mean_length > 0 and content[name].is_text]
    several = [name for name in texts if content[name].distinct > 1]
    return sorted(several or texts, key=lambda name: -content[name].mean_length)


def message_form(wanted: Sequence[ColumnSpec]) -> ColumnSpec | None:
    """The input ``messages`` of a task whose messages can also be given as single texts; else None."""
    chat = next((spec for spec in wanted if spec.type == "messages"), None)
    return chat if any(spec.role for spec in wanted) else None


def _roles_needed(wanted: Sequence[ColumnSpec]) -> list[ColumnSpec]:
    return [spec for spec in wanted if spec.role in ROLE_NEEDED]


def needed_columns(wanted: Sequence[ColumnSpec], columns: Container[str]) -> list[ColumnSpec]:
    """The inputs without which a row is of no use, where ``columns`` are the inputs that are there."""
    needed = [spec for spec in wanted if spec.required]
    chat = message_form(wanted)
    if chat is not None:
        needed = [spec for spec in needed if spec != chat and not spec.role]
        needed += [chat] if chat.name in columns else _roles_needed(wanted)
    return needed


def guess_columns(table: Dataset | Sequence[str], wanted: Sequence[ColumnSpec]) -> dict[str, str]:
    """Map every wanted input to a column: by name and aliases, then (with a data set) by content.

    Inputs that are not found are left out; :func:`resolve_columns` raises for the needed ones. Labels are looked
    for before texts, so that a short text column is not taken for one. Of the forms of a chat the first whole one
    is taken.
    """
    is_names = isinstance(table, list | tuple)
    names: list[str] = list(table) if is_names else list(table.column_names)  # type: ignore[union-attr]
    found: dict[str, str] = {}
    for spec in wanted:
        column = _by_name(spec, [name for name in names if name not in found.values()])
        if column is not None:
            found[spec.name] = column
    chat = message_form(wanted)
    missing = [spec for spec in needed_columns(wanted, found) if spec.name not in found]
    if missing and chat is not None and chat.name not in found:
        missing.insert(0, chat)
    free = [name for name in names if name not in found.values()]
    content = {} if is_names or not missing else _look(table, free)
    first = ("text", "document") if len(free) == 1 else ("messages", "answers", "label", "choice")
    for spec in sorted(missing, key=lambda spec: spec.type not in first):
        if spec.role and chat is not None and chat.name in found:
            continue
        column = _by_content(spec, free, content)
        texts = [other for other in missing if other.type == spec.type and other.name not in found]
        if spec.type == "text" and len(texts) > 1 and column is not None:  # in the order of the file
            longest = _longest([name for name in free if name in content], content)[: len(texts)]
            column = min(longest, key=free.index)
        if column is None and len(names) == 1 and free and spec.type in ("text", "document") and not spec.role:
            column = free[0]
        if column is not None:
            found[spec.name] = column
            free.remove(column)
    if chat is not None and chat.name in found:
        found = {name: column for name, column in found.items() if not _has_role(wanted, name)}
    return {spec.name: found[spec.name] for spec in wanted if spec.name in found}


def _has_role(wanted: Sequence[ColumnSpec], name: str) -> bool:
    return any(spec.role for spec in wanted if spec.name == name)


def resolve_columns(
    dataset: Dataset, wanted: Sequence[ColumnSpec], mapping: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The mapping as the user gave it, completed by guesses. An input mapped to ``""`` is not used.

    Raises :class:`UserError` for an input the task does not have, a column the table does not have (with the nearest
    name), and a required input that nothing was found for.
    """
    mapping = dict(mapping or {})
    names: list[str] = list(dataset.column_names)
    inputs = [spec.name for spec in wanted]
    for name, column in mapping.items():
        if name not in inputs:
            _raise_unknown("The task has no input {name}.", name, inputs)
        if column and column not in names:
            _raise_unknown("The data has no column {name}.", column, names)
    unused = {name for name, column in mapping.items() if not column}
    mapping = {name: column for name, column in mapping.items() if column}
    chosen = _of_chosen_form([spec for spec in wanted if spec.required or spec.name not in unused], mapping)
    guessed = guess_columns(dataset, chosen)
    taken = set(mapping.values())
    found = {}
    for spec in chosen:
        if spec.name in mapping:
            found[spec.name] = mapping[spec.name]
        elif guessed.get(spec.name) is not None and guessed[spec.name] not in taken:
            found[spec.name] = guessed[spec.name]
    chat = message_form(wanted)
    absent = [spec for spec in needed_columns(chosen, found) if spec.name not in found]
    if absent and chat is not None and (chat in absent or absent[0].role):
        _raise_no_chat(chat, wanted, names)
    if absent:
        raise UserError(
            "No column for {name} was found among: {names}.",
            'Say which one it is, for example data.columns: {{{name}: "{example}"}}.',
            name=absent[0].name,
            names=", ".join(names),
            example=names[0] if names else "",
        )
    return found


def _of_chosen_form(wanted: Sequence[ColumnSpec], mapping: Mapping[str, str]) -> list[ColumnSpec]:
    """Without the inputs of the form of a chat that the user did not name, if one was named."""
    chat = message_form(wanted)
    if chat is not None and chat.name in mapping:
        return [spec for spec in wanted if not spec.role]
    if chat is not None and any(spec.role and spec.name in mapping for spec in wanted):
        return [spec for spec in wanted if spec != chat]
    return list(wanted)


def _raise_no_chat(chat: ColumnSpec, wanted: Sequence[ColumnSpec], names: Sequence[str]) -> None:
    raise UserError(
        "No column for {name} was found among: {names}.",
        'Name the column with the chats, for example data.columns: {{{name}: "{example}"}}, or the ones for {parts}.',
        name=chat.name,
        names=", ".join(names),
        example=names[0] if names else "",
        parts=" and ".join(spec.name for spec in _roles_needed(wanted)),
    )


def _raise_unknown(template: str, name: str, choices: Sequence[str]) -> None:
    close = nearest(name, choices)
    parameters: dict[str, Any] = {"name": name, "names": ", ".join(choices)}
    if close is None:
        raise UserError(template, "There are: {names}.", **parameters)
    raise UserError(template, "Did you mean {nearest}? There are: {names}.", nearest=close, **parameters)
