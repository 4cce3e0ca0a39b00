"""Stored conversations: trees of messages, of which one branch is shown; found by words, deleted with a way back."""

from __future__ import annotations

import contextlib
import json
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from lmstudio_app.chat.conversation_database import Database
from lmstudio_app.chat.engine import Piece, ReplyReport, from_rows, to_rows
from lmstudio_app.errors import UserError
from lmstudio_app.settings import home
from lmstudio_app.tasks.streaming import whole_characters

_KEPT_AFTER_DELETION = 30 * 86_400.0  # seconds
_TITLE = 60  # characters
_CONVERSATION = (
    "SELECT c.id, c.title, c.model, c.system, c.preset, c.created, c.changed, c.leaf, "
    "(SELECT count(*) FROM messages m WHERE m.conversation = c.id AND m.deleted IS NULL), c.options "
    "FROM conversations c"
)
_MESSAGE = (
    "SELECT id, conversation, parent, role, content, created, model, ending, tokens, first_seconds, seconds, "
    "pieces IS NOT NULL FROM messages"
)
_UNDER = (  # a message and all that follow from it
    "WITH RECURSIVE under (id) AS (SELECT ? UNION ALL SELECT m.id FROM messages m JOIN under u ON m.parent = u.id) "
)


def conversations_file() -> Path:
    return home() / "chat" / "conversations.sqlite"


@dataclass(frozen=True)
class Conversation:
    """One conversation. ``leaf``: the message that its shown branch ends with; ``messages`` counts all branches.

    ``options`` are JSON values by name that whoever chats in it wants kept, such as those of ``ReplyOptions``.
    """

    id: int
    title: str
    model: str
    system: str
    preset: str
    created: float
    changed: float
    leaf: int | None
    messages: int
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Message:
    """One message. ``ending`` of a reply is that of :class:`lmstudio_app.chat.engine.ReplyReport`; empty: cut off."""

    id: int
    conversation: int
    parent: int | None
    role: str
    content: str
    created: float
    model: str = ""
    ending: str = ""
    tokens: int = 0
    first_seconds: float = 0.0
    seconds: float = 0.0
    has_pieces: bool = False


@dataclass(frozen=True)
class Hit:
    """A message that was searched for, or a conversation by its title (then ``message`` is None)."""

    conversation: int
    title: str
    message: int | None
    snippet: str


class Conversations:
    """The store. Any number of threads and processes may have it open.

    Raises :class:`UserError` for a file that is damaged or of a newer version, and for ids that there are not.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._database = Database(path or conversations_file())
        try:
            self.purge(time.time() - _KEPT_AFTER_DELETION)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Conversations:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._database.close()

    @property
    def changes(self) -> int:
        """Another number whenever another process has changed something."""
        return self._database.changes

    def at_once(self) -> contextlib.AbstractContextManager[None]:
        """A ``with`` block whose changes are kept together, or not at all when it raises."""
        return self._database.transaction()

    # --- conversations

    def create(
        self,
        *,
        title: str = "",
        model: str = "",
        system: str = "",
        preset: str = "",
        options: Mapping[str, Any] | None = None,
        created: float | None = None,
    ) -> Conversation:
        """A new one without messages. Without a title it gets the beginning of its first question."""
        now = time.time() if created is None else created
        number = self._database.change(
            "INSERT INTO conversations (title, model, system, preset, options, created, changed) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (title, model, whole_characters(system), preset, json.dumps(dict(options or {})), now, now),
        )
        return self.get(number)

    def all(self, limit: int = -1) -> list[Conversation]:
        """Those that are not deleted, the last changed first."""
        rows = self._database.rows(
            f"{_CONVERSATION} WHERE deleted IS NULL ORDER BY changed DESC, id DESC LIMIT ?", (limit,)
        )
        return [_conversation(row) for row in rows]

    def get(self, conversation: int) -> Conversation:
        rows = self._database.rows(f"{_CONVERSATION} WHERE id = ?", (conversation,))
        if not rows:
            raise UserError("There is no conversation {number}.", "See: lmstudio-app chat list", number=conversation)
        return _conversation(rows[0])

    def update(
        self,
        conversation: int,
        *,
        title: str | None = None,
        model: str | None = None,
        system: str | None = None,
        preset: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Conversation:
        """Change what is given; a new ``title`` renames it."""
        given = {"title": title, "model": model, "system": system, "preset": preset}
        given["options"] = None if options is None else json.dumps(dict(options))
        changed = {name: whole_characters(value) for name, value in given.items() if value is not None}
        with self._database.transaction():
            self.get(conversation)
            for name, value in changed.items():
                self._database.change(f"UPDATE conversations SET {name} = ? WHERE id = ?", (value, conversation))
            return self.get(conversation)

    def delete(self, conversation: int) -> None:
        """Take it out of every list. :meth:`undelete` brings it back; after 30 days it is gone."""
        self.get(conversation)
        self._database.change("UPDATE conversations SET deleted = ? WHERE id = ?", (time.time(), conversation))

    def undelete(self, conversation: int) -> None:
        self.get(conversation)
        self._database.change("UPDATE conversations SET deleted = NULL WHERE id = ?", (conversation,))

    def purge(self, before: float) -> None:
        """Remove for good what was deleted before this time (seconds since the epoch)."""
        for table in ("conversations", "messages"):
            if self._database.rows(f"SELECT 1 FROM {table} WHERE deleted < ? LIMIT 1", (before,)):
                self._database.change(f"DELETE FROM {table} WHERE deleted < ?", (before,))

    # --- messages and branches

    def message(self, message: int) -> Message:
        rows = self._database.rows(f"{_MESSAGE} WHERE id = ?", (message,))
        if not rows:
            raise UserError("There is no message {number}.", "It may have been deleted.", number=message)
        return _message(rows[0])

    def messages(self, conversation: int) -> list[Message]:
        """Those of all branches, in the order in which they came."""
        rows = self._database.rows(
            f"{_MESSAGE} WHERE conversation = ? AND deleted IS NULL ORDER BY id", (conversation,)
        )
        return [_message(row) for row in rows]

    def branch(self, conversation: int) -> list[Message]:
        """The messages that are shown, from the first to the leaf."""
        by_id = {message.id: message for message in self.messages(conversation)}
        found, place = [], self.get(conversation).leaf
        while place is not None:
            found.append(by_id[place])
            place = by_id[place].parent
        return found[::-1]

    def add(
        self,
        conversation: int,
        role: str,
        content: str,
        *,
        parent: int | None = None,
        at_root: bool = False,
        model: str = "",
        created: float | None = None,
    ) -> Message:
        """A message behind ``parent``, which is the leaf now.

        Without a parent it goes behind the leaf so far; ``at_root`` makes it a first message.
        """
        now, content = time.time() if created is None else created, whole_characters(content)
        with self._database.transaction():
            known = self.get(conversation)
            if parent is None and not at_root:
                parent = known.leaf
            elif parent is not None and self.message(parent).conversation != conversation:
                raise ValueError(f"message {parent} is of another conversation")
            number = self._database.change(
                "INSERT INTO messages (conversation, parent, role, content, created, model) VALUES (?, ?, ?, ?, ?, ?)",
                (conversation, parent, role, content, now, model),
            )
            self._show(conversation, number, now)
            if not known.title and role == "user":
                title = " ".join(content.split())
                title = title if len(title) <= _TITLE else f"{title[:_TITLE].rstrip()}…"
                self._database.change("UPDATE conversations SET title = ? WHERE id = ?", (title, conversation))
            return self.message(number)

    def edit(self, message: int, content: str) -> Message:
        """The message in other words, as a branch of its own; the old words and all that followed stay beside it."""
        old = self.message(message)
        return self.add(old.conversation, old.role, content, parent=old.parent, at_root=old.parent is None)

    def siblings(self, message: int) -> list[int]:
        """The messages at the same place of the tree, this one included, the oldest first."""
        known = self.message(message)
        rows = self._database.rows(
            "SELECT id FROM messages WHERE conversation = ? AND parent IS ? AND deleted IS NULL ORDER BY id",
            (known.conversation, known.parent),
        )
        return [number for (number,) in rows]

    def show(self, message: int | None, conversation: int | None = None, *, to_end: bool = False) -> None:
        """Let the shown branch end with this message; ``to_end``: go on to the newest message that follows from it.

        Without a message nothing is shown of ``conversation``: the next message is a first one.
        """
        with self._database.transaction():
            if message is None:
                if conversation is None:
                    raise ValueError("neither a message nor a conversation")
                self._database.change("UPDATE conversations SET leaf = NULL WHERE id = ?", (conversation,))
                return
            while to_end and (newest := self._newest_child(message)) is not None:
                message = newest
            self._database.change(
                "UPDATE conversations SET leaf = ? WHERE id = ?", (message, self.message(message).conversation)
            )

    def _newest_child(self, message: int) -> int | None:
        rows = self._database.rows("SELECT max(id) FROM messages WHERE parent = ? AND deleted IS NULL", (message,))
        newest: int | None = rows[0][0]
        return newest

    def _show(self, conversation: int, leaf: int, now: float) -> None:
        self._database.change(
            "UPDATE conversations SET leaf = ?, changed = max(changed, ?) WHERE id = ?", (leaf, now, conversation)
        )

    def remove(self, message: int) -> None:
        """Take a message and all that follows from it out. :meth:`restore` brings it back; after 30 days it is gone.

        When it was shown, the newest other message at its place is shown then, or the branch ends before it.
        """
        with self._database.transaction():
            known = self.message(message)
            was_shown = message in (shown.id for shown in self.branch(known.conversation))
            self._database.change(
                f"{_UNDER} UPDATE messages SET deleted = ? WHERE deleted IS NULL AND id IN (SELECT id FROM under)",
                (message, time.time()),
            )
            if was_shown:
                others = self.siblings(message)
                if others:
                    self.show(others[-1], to_end=True)
                else:
                    self.show(known.parent, known.conversation)

    def restore(self, message: int) -> None:
        """Bring back what one :meth:`remove` has taken out, and show it."""
        with self._database.transaction():
            self._database.change(
                f"{_UNDER} UPDATE messages SET deleted = NULL WHERE id IN (SELECT id FROM under) "
                "AND deleted = (SELECT deleted FROM messages WHERE id = ?)",
                (message, message),
            )
            self.show(message, to_end=True)

    # --- replies

    def save_reply(
        self, message: int, content: str, report: ReplyReport | None = None, pieces: Sequence[Piece] = ()
    ) -> None:
        """What a reply has come to; with a report it has ended."""
        told, packed, content = report or ReplyReport(), None, whole_characters(content)
        if pieces:
            packed = zlib.compress(json.dumps(to_rows(pieces), ensure_ascii=False).encode("utf-8", "replace"), 1)
        self._database.change(
            "UPDATE messages SET content = ?, ending = ?, tokens = ?, first_seconds = ?, seconds = ?, "
            "pieces = coalesce(?, pieces) WHERE id = ?",
            (
                whole_characters(content),
                told.ending,
                told.new_tokens,
                told.first_seconds,
                told.seconds,
                packed,
                message,
            ),
        )

    def pieces(self, message: int) -> list[Piece]:
        """The tokens of a reply with their candidates; none when they were not kept."""
        rows = self._database.rows("SELECT pieces FROM messages WHERE id = ?", (message,))
        return from_rows(json.loads(zlib.decompress(rows[0][0]))) if rows and rows[0][0] else []

    # --- search

    def search(self, text: str, limit: int = 100) -> list[Hit]:
        """Where all words of ``text`` occur in a title or a message, titles first, then the newest messages.

        Upper and lower case are the same. Words are found inside of longer ones.
        """
        words = text.split()
        if not words:
            return []
        like = [f"%{word.translate(_ESCAPES)}%" for word in words]
        titles = self._database.rows(
            "SELECT id, title FROM conversations c WHERE deleted IS NULL AND "
            + " AND ".join(["title LIKE ? ESCAPE '\\'"] * len(words))
            + " ORDER BY changed DESC LIMIT ?",
            (*like, limit),
        )
        hits = [Hit(number, title, None, title) for number, title in titles]
        indexed = [word for word in words if len(word) >= 3]  # the index knows three characters in a row
        condition, values = ["c.deleted IS NULL", "m.deleted IS NULL"], []
        if indexed:
            condition.append("m.id IN (SELECT rowid FROM found WHERE found MATCH ?)")
            values.append(" AND ".join('"' + word.replace('"', '""') + '"' for word in indexed))
        for word, pattern in zip(words, like, strict=True):
            if len(word) < 3:
                condition.append("m.content LIKE ? ESCAPE '\\'")
                values.append(pattern)
        rows = self._database.rows(
            "SELECT c.id, c.title, m.id, m.content FROM messages m JOIN conversations c ON c.id = m.conversation WHERE "
            f"{' AND '.join(condition)} ORDER BY m.id DESC LIMIT ?",
            (*values, max(0, limit - len(hits))),
        )
        return hits + [Hit(number, title, message, snippet(content, words)) for number, title, message, content in rows]


_ESCAPES = str.maketrans({"\\": r"\\", "%": r"\%", "_": r"\_"})


def _conversation(row: tuple[Any, ...]) -> Conversation:
    known = Conversation(*row)
    return replace(known, options=json.loads(row[-1]))


def _message(row: tuple[Any, ...]) -> Message:
    known = Message(*row)
    return replace(known, has_pieces=bool(known.has_pieces))


def snippet(content: str, words: Sequence[str], around: int = 60) -> str:
    """The part of a text in which the first of the words occurs, on one line."""
    places = [place for word in words if (place := content.lower().find(word.lower())) >= 0]
    begin = max(0, min(places, default=0) - around)
    end = min(len(content), begin + 2 * around + len(words[0]))
    part = " ".join(content[begin:end].split())
    return f"{'…' if begin else ''}{part}{'…' if end < len(content) else ''}"
