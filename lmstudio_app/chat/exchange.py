"""Conversations as files: Markdown for people; JSON Lines that come back as they were, and that a model can learn from.

A line holds one conversation: ``messages`` (the shown branch, the system prompt first, as chat data sets have them),
``title``, ``model``, ``preset``, ``options``, ``created``, and for one with branches ``tree`` (all messages, each with
the place of its ``parent`` in the list) and ``leaf``.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lmstudio_app.chat.conversations import Conversation, Conversations, Message
from lmstudio_app.data.chats import ROLES
from lmstudio_app.errors import UserError

_NAMES = {"user": "You", "assistant": "Assistant", "tool": "Tool"}


def to_markdown(store: Conversations, conversation: int) -> str:
    """The shown branch as one document."""
    known = store.get(conversation)
    lines = [f"# {known.title or 'Conversation'}", ""]
    when = datetime.datetime.fromtimestamp(known.created).astimezone().strftime("%Y-%m-%d %H:%M")
    lines += [f"*{known.model}, {when}*" if known.model else f"*{when}*", ""]
    if known.system:
        lines += ["**System**", "", known.system, ""]
    for message in store.branch(conversation):
        lines += [f"**{_NAMES[message.role]}**", "", message.content, ""]
    return "\n".join(lines)


def to_row(store: Conversations, conversation: int) -> dict[str, Any]:
    """One line of JSON Lines, as a mapping."""
    known, everything = store.get(conversation), store.messages(conversation)
    shown = store.branch(conversation)
    system = [{"role": "system", "content": known.system}] if known.system else []
    row: dict[str, Any] = {
        "messages": system + [{"role": message.role, "content": message.content} for message in shown],
        "title": known.title,
        "model": known.model,
        "preset": known.preset,
        "options": dict(known.options),
        "created": known.created,
    }
    if len(everything) > len(shown):
        places = {message.id: place for place, message in enumerate(everything)}
        row["tree"] = [_tree_row(message, places) for message in everything]
        row["leaf"] = None if known.leaf is None else places[known.leaf]
    return row


def _tree_row(message: Message, places: Mapping[int, int]) -> dict[str, Any]:
    parent = None if message.parent is None else places[message.parent]
    return {"role": message.role, "content": message.content, "parent": parent,
            "model": message.model, "created": message.created}  # fmt: skip


def to_jsonl(store: Conversations, conversations: Sequence[int]) -> str:
    """A line each."""
    return "".join(json.dumps(to_row(store, number), ensure_ascii=False) + "\n" for number in conversations)


def from_jsonl(store: Conversations, lines: Iterable[str]) -> list[Conversation]:
    """Put in what :func:`to_jsonl` has written, or any file with ``messages`` (or ShareGPT's ``conversations``).

    Raises :class:`UserError` naming the line that is none; then nothing of the file is put in.
    """
    with store.at_once():
        return [_put_in(store, row, number) for number, row in _rows(lines)]


def _rows(lines: Iterable[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            if not isinstance(row, Mapping):
                raise _bad_line(number, "it is no JSON object")
            yield number, row


def _put_in(store: Conversations, row: Mapping[str, Any], number: int) -> Conversation:
    messages = [_read_message(item, number) for item in _list(row.get("messages", row.get("conversations")), number)]
    system = "\n\n".join(content for role, content in messages if role == "system")
    facts = {name: str(row.get(name) or "") for name in ("title", "model", "preset")}
    created, options = row.get("created"), row.get("options")
    made = store.create(
        **facts,
        system=system,
        options=options if isinstance(options, Mapping) else None,
        created=float(created) if isinstance(created, int | float) else None,
    )
    tree = row.get("tree")
    if tree is None:
        for role, content in messages:
            if role != "system":
                store.add(made.id, role, content, model=facts["model"] if role == "assistant" else "")
        return store.get(made.id)
    ids: list[int] = []
    for item in _list(tree, number):
        role, content = _read_message(item, number)
        parent, when = item.get("parent"), item.get("created")
        if parent is not None and not (isinstance(parent, int) and 0 <= parent < len(ids)):
            raise _bad_line(number, "a message follows from one that is not before it")
        added = store.add(
            made.id, role, content, parent=None if parent is None else ids[parent], at_root=parent is None,
            model=str(item.get("model") or ""), created=float(when) if isinstance(when, int | float) else None,
        )  # fmt: skip
        ids.append(added.id)
    leaf = row.get("leaf")
    if isinstance(leaf, int) and 0 <= leaf < len(ids):
        store.show(ids[leaf])
    elif leaf is None:
        store.show(None, made.id)
    return store.get(made.id)


def _list(value: Any, number: int) -> list[Any]:
    if not isinstance(value, list):
        raise _bad_line(number, "it has no list of messages")
    return value


def _read_message(item: Any, number: int) -> tuple[str, str]:
    if not isinstance(item, Mapping):
        raise _bad_line(number, "a message is no object")
    role = ROLES.get(str(item.get("role", item.get("from"))).strip().lower())
    content = item.get("content", item.get("value"))
    if role is None or not isinstance(content, str):
        raise _bad_line(number, "a message has no role or no text")
    return role, content


def _bad_line(number: int, reason: str) -> UserError:
    return UserError(
        "Line {number} is no conversation: {reason}.",
        'Write one a line, as {{"messages": [{{"role": "user", "content": …}}, …]}}.',
        number=number,
        reason=reason,
    )
