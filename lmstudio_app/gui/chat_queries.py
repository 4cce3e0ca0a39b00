"""The jobs by which the Chat page reads and changes the stored conversations."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmstudio_app.errors import UserError
from lmstudio_app.gui.widgets.chat_list import Listed
from lmstudio_app.gui.widgets.chat_turn import CUT, FAILED, STOPPED, WHOLE
from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    from lmstudio_app.chat.conversations import Conversations, Message
    from lmstudio_app.chat.engine import Piece, ReplyReport

LISTED = 1000  # conversations
STATES = {"end": WHOLE, "stop text": WHOLE, "length": CUT, "stopped": STOPPED, "": STOPPED}


class ChatStore:
    """The stored conversations, opened by the first job that asks for them."""

    def __init__(self) -> None:
        self._store: Conversations | None = None
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def use(self) -> Iterator[Conversations]:
        """Raises :class:`UserError` when the file is damaged, locked or cannot be written."""
        from lmstudio_app.chat.conversations import Conversations

        with self._lock:
            if self._store is None:
                self._store = Conversations()
            store = self._store
        try:
            yield store
        except sqlite3.Error as error:
            self.close()  # the next job looks again
            if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
                raise UserError("The stored conversations are locked by another process.", "Try again.") from error
            raise UserError(
                "The stored conversations cannot be used ({reason}).",
                "Try again. If that does not help, move the folder chat out of the app's data folder.",
                reason=str(error),
            ) from error

    def close(self) -> None:
        with self._lock:
            store, self._store = self._store, None
        if store is not None:
            store.close()


# --- what is read


@dataclass(frozen=True, eq=False)
class Said:
    """A message. ``branch``: its number among its siblings (from 1), of how many; see ``Turn`` for the rest."""

    key: int
    role: str
    text: str
    state: str = WHOLE
    model: str = ""
    branch: tuple[int, int] = (1, 1)
    tokens: int = 0
    seconds: float = 0.0
    first: float | None = None
    pieces: Sequence[Piece] = ()


@dataclass(frozen=True, eq=False)
class Opened:
    """A conversation with the messages of the branch that is shown. ``reached`` is the one that was looked for."""

    key: int
    title: str
    system: str
    preset: str
    path: tuple[Said, ...]
    reached: int | None = None


@dataclass(frozen=True)
class Listing:
    store: ChatStore
    search: str = ""


def list_chats(request: Listing, ctx: JobContext) -> list[Listed]:
    """The conversations in which the words occur, or all; the newest first."""
    with request.store.use() as store:
        known = {chat.id: chat for chat in store.all(LISTED)}
        if not request.search:
            return [Listed(chat.id, chat.title, chat.changed) for chat in known.values()]
        found: dict[int, Listed] = {}
        for hit in store.search(request.search):
            chat = known.get(hit.conversation)
            before = found.get(hit.conversation)
            if chat is not None and (before is None or not before.found):
                place = hit.snippet if hit.message is not None else ""
                found[hit.conversation] = Listed(chat.id, chat.title, chat.changed, place, hit.message)
        return sorted(found.values(), key=lambda entry: -entry.changed)


@dataclass(frozen=True)
class OpenChat:
    """``message``: one to be reached, on whichever branch it is; ``pieces``: read the tokens of the replies, too."""

    store: ChatStore
    chat: int
    message: int | None = None
    pieces: bool = False


def open_chat(request: OpenChat, ctx: JobContext) -> Opened:
    with request.store.use() as store:
        if request.message is not None and request.message not in (m.id for m in store.branch(request.chat)):
            store.show(request.message, to_end=True)
        return _opened(store, request.chat, pieces=request.pieces, reached=request.message)


def _opened(store: Conversations, chat: int, *, pieces: bool = False, reached: int | None = None) -> Opened:
    known = store.get(chat)
    siblings: dict[int | None, list[int]] = {}
    by_id = {}
    for message in store.messages(chat):
        siblings.setdefault(message.parent, []).append(message.id)
        by_id[message.id] = message
    path, place = [], known.leaf
    while place is not None:
        message = by_id[place]
        beside = siblings[message.parent]
        told = store.pieces(message.id) if pieces and message.has_pieces else ()
        path.append(_said(message, (beside.index(place) + 1, len(beside)), told))
        place = message.parent
    return Opened(chat, known.title, known.system, known.preset, tuple(reversed(path)), reached)


def _said(message: Message, branch: tuple[int, int], pieces: Sequence[Piece]) -> Said:
    state = WHOLE
    if message.role == "assistant":
        state = STATES.get(message.ending, WHOLE)
        if not message.ending and not message.content:
            state = FAILED
        elif not message.ending and not message.tokens:
            state = WHOLE  # it was put in from elsewhere
    first = message.first_seconds or None
    return Said(
        message.id, message.role, message.content, state, message.model, branch, message.tokens, message.seconds,
        first, pieces,
    )  # fmt: skip


@dataclass(frozen=True)
class ReadPieces:
    store: ChatStore
    messages: tuple[int, ...]


def read_pieces(request: ReadPieces, ctx: JobContext) -> dict[int, list[Piece]]:
    """The tokens of these replies, where they were kept."""
    found = {}
    with request.store.use() as store:
        for message in request.messages:
            ctx.check()
            if pieces := store.pieces(message):
                found[message] = pieces
    return found


@dataclass(frozen=True)
class Exporting:
    store: ChatStore
    chat: int


def chat_texts(request: Exporting, ctx: JobContext) -> dict[str, str]:
    """A conversation by suffix: Markdown to read, JSON Lines to come back or to be learned from."""
    from lmstudio_app.chat.exchange import to_jsonl, to_markdown

    with request.store.use() as store:
        return {".md": to_markdown(store, request.chat), ".jsonl": to_jsonl(store, [request.chat])}


# --- what is changed


@dataclass(frozen=True)
class Say:
    """``text`` behind the message ``after`` (None: as a first one) of ``chat`` (None: of a new one)."""

    store: ChatStore
    chat: int | None
    after: int | None
    text: str
    system: str
    preset: str
    model: str


def say(request: Say, ctx: JobContext) -> Opened:
    """Keep a question, and an empty reply behind it."""
    with request.store.use() as store, store.at_once():
        chat = request.chat
        if chat is None:
            chat = store.create(model=request.model, system=request.system, preset=request.preset).id
        question = store.add(chat, "user", request.text, parent=request.after, at_root=request.after is None)
        store.add(chat, "assistant", "", parent=question.id, model=request.model)
        return _opened(store, chat)


@dataclass(frozen=True)
class BeginReply:
    """An empty reply beside ``instead``."""

    store: ChatStore
    instead: int
    model: str


def begin_reply(request: BeginReply, ctx: JobContext) -> Opened:
    with request.store.use() as store, store.at_once():
        old = store.message(request.instead)
        store.add(old.conversation, "assistant", "", parent=old.parent, at_root=old.parent is None, model=request.model)
        return _opened(store, old.conversation)


@dataclass(frozen=True, eq=False)
class KeepReply:
    """What a reply has come to; the ``ending`` of the report is empty while it is written."""

    store: ChatStore
    message: int
    text: str
    report: ReplyReport | None = None
    pieces: Sequence[Piece] = ()


def keep_reply(request: KeepReply, ctx: JobContext) -> None:
    with request.store.use() as store:
        store.save_reply(request.message, request.text, request.report, request.pieces)


@dataclass(frozen=True)
class ChooseBranch:
    """Show the sibling ``number`` (from 1) of a message, and what follows from it."""

    store: ChatStore
    message: int
    number: int


def choose_branch(request: ChooseBranch, ctx: JobContext) -> Opened:
    with request.store.use() as store, store.at_once():
        siblings = store.siblings(request.message)
        number = min(max(1, request.number), len(siblings))
        store.show(siblings[number - 1], to_end=True)
        return _opened(store, store.message(request.message).conversation)


@dataclass(frozen=True)
class OneMessage:
    store: ChatStore
    message: int


@dataclass(frozen=True, eq=False)
class Hidden:
    """A message that is no longer shown, and with ``leaf`` the way back."""

    opened: Opened
    message: int
    leaf: int | None


def hide_message(request: OneMessage, ctx: JobContext) -> Hidden:
    """Show the conversation without a message: with another version of it, or ending before it."""
    with request.store.use() as store, store.at_once():
        known = store.message(request.message)
        leaf = store.get(known.conversation).leaf
        others = [number for number in store.siblings(known.id) if number != known.id]
        if others:
            store.show(others[-1], to_end=True)
        else:
            store.show(known.parent, known.conversation)
        return Hidden(_opened(store, known.conversation), known.id, leaf)


def show_hidden(request: OneMessage, ctx: JobContext) -> Opened:
    """``message`` is the leaf that was shown before."""
    with request.store.use() as store, store.at_once():
        store.show(request.message)
        return _opened(store, store.message(request.message).conversation)


def remove_message(request: OneMessage, ctx: JobContext) -> Opened:
    with request.store.use() as store:
        chat = store.message(request.message).conversation
        store.remove(request.message)
        return _opened(store, chat)


@dataclass(frozen=True)
class KeepSettings:
    store: ChatStore
    chat: int
    system: str
    preset: str
    model: str


def keep_settings(request: KeepSettings, ctx: JobContext) -> None:
    with request.store.use() as store:
        store.update(request.chat, system=request.system, preset=request.preset, model=request.model)


@dataclass(frozen=True)
class OneChat:
    store: ChatStore
    chat: int
    title: str = ""


def rename_chat(request: OneChat, ctx: JobContext) -> None:
    with request.store.use() as store:
        store.update(request.chat, title=request.title)


def delete_chat(request: OneChat, ctx: JobContext) -> None:
    with request.store.use() as store:
        store.delete(request.chat)


def restore_chat(request: OneChat, ctx: JobContext) -> None:
    with request.store.use() as store:
        store.undelete(request.chat)


# --- presets


def list_presets(nothing: Any, ctx: JobContext) -> list[Any]:
    from lmstudio_app.chat.presets import read_presets

    return list(read_presets())


def keep_preset(preset: Any, ctx: JobContext) -> list[Any]:
    """Keep one of the user's, and list all."""
    from lmstudio_app.chat.presets import read_presets, save_preset

    save_preset(preset)
    return list(read_presets())


def drop_preset(name: str, ctx: JobContext) -> list[Any]:
    """Delete one of the user's, and list all."""
    from lmstudio_app.chat.presets import delete_preset, read_presets

    delete_preset(name)
    return list(read_presets())
