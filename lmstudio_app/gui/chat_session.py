"""The conversation of the Chat page: what was said, the reply that is being written, and its versions.

What is said is kept before it is shown, and a reply every second while it is written, so that nothing is lost.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Signal

from lmstudio_app.errors import UserError
from lmstudio_app.gui.chat_counting import TokenCounter
from lmstudio_app.gui.chat_deletion import MessageDeletion
from lmstudio_app.gui.chat_queries import (
    BeginReply,
    ChatStore,
    ChooseBranch,
    KeepReply,
    KeepSettings,
    OpenChat,
    Opened,
    ReadPieces,
    Said,
    Say,
    begin_reply,
    choose_branch,
    keep_reply,
    keep_settings,
    open_chat,
    read_pieces,
    say,
)
from lmstudio_app.gui.chat_storing import StoreJobs
from lmstudio_app.gui.chat_writing import Ended, ReplyWriting
from lmstudio_app.gui.services import Services
from lmstudio_app.gui.text import error_texts, model_title
from lmstudio_app.gui.widgets.chat_turn import WRITING, Turn

if TYPE_CHECKING:
    from lmstudio_app.models.loading import LoadedModel


class ChatSession(QObject):
    """``failed`` carries an error, and what to call to try again."""

    turns_changed = Signal(object, bool)  # list[Turn], whether to go to their end
    turn_changed = Signal(object)  # Turn
    opened = Signal(object)  # Opened, or None for a new conversation
    kept = Signal()  # something was said: the list of conversations is another one
    busy_changed = Signal(bool)
    stopping = Signal()
    failed = Signal(object, object)  # UserError, Callable
    mended = Signal()  # the store works
    noticed = Signal(str)  # a sentence about the last reply
    message_deleted = Signal()
    reached = Signal(object)  # the key of the message that was looked for
    wrote = Signal(object)  # list[Piece] of the whole last reply

    def __init__(
        self,
        services: Services,
        store: ChatStore,
        options: Callable[[], Any],
        preset: Callable[[], str],
        parent: QObject | None = None,
    ) -> None:
        """``options`` gives the ``ReplyOptions`` that are set, or raises :class:`UserError`; ``preset`` their name."""
        super().__init__(parent)
        self._services = services
        self._kept_in = store
        self._preset = preset
        self._with_pieces = False
        self._options = options
        self._loaded: LoadedModel | None = None
        self._chat: Opened | None = None
        self._path: list[Said] = []
        self._was_busy = False
        self._dropped = 0  # messages that the model no longer sees
        self._problem: dict[Any, str] = {}
        self._jobs = StoreJobs(services, self)
        self._jobs.busy_changed.connect(self._tell_busy)
        self._jobs.failed.connect(self.failed)
        self._jobs.mended.connect(self.mended)
        self._deletion = MessageDeletion(services, store, self._jobs, self)
        self._deletion.changed.connect(self._on_changed)
        self._deletion.hidden.connect(self.message_deleted)
        self._deletion.removed.connect(self._on_removed)
        self._writing = ReplyWriting(services, store, self)
        self._writing.grew.connect(self._on_grown)
        self._writing.ended.connect(self._on_ended)
        self.counter = TokenCounter(services, self._writing.holder, self.messages, self)

    # --- what others use

    @property
    def chat(self) -> Opened | None:
        """The conversation as it is kept; None: a new one in which nothing was said."""
        return self._chat

    @property
    def path(self) -> list[Said]:
        """What was said, in the versions that are shown."""
        return list(self._path)

    @property
    def busy(self) -> bool:
        return self._writing.busy or self._jobs.busy

    @property
    def is_writing(self) -> bool:
        return self._writing.busy

    def set_model(self, loaded: LoadedModel | None) -> None:
        """Ask this model from now on; a reply that is being written is ended."""
        if loaded is self._loaded:
            return
        self._writing.end()
        self._loaded = loaded
        self.counter.set_model(loaded)
        if loaded is None:
            self._writing.holder.close()

    def new(self) -> None:
        """A conversation in which nothing was said; it is kept once something is."""
        self._end_reply()
        self._chat, self._path, self._dropped = None, [], 0
        self.opened.emit(None)
        self._show()
        self.counter.count()

    def open(self, chat: Any, message: Any = None) -> None:
        """Show a conversation that was kept."""
        self._end_reply()
        request = OpenChat(self._kept_in, chat, message, self._with_pieces)
        self._jobs.run(open_chat, request, self._on_opened, lambda: self.open(chat, message))

    def send(self, text: str) -> bool:
        """Say this at the end of the conversation, and have a reply written. False: there is no one to hear it now."""
        if self._loaded is None or self.busy:
            return False
        options = self._checked_options()
        if options is None:
            return False
        last = self._path[-1].key if self._path else None
        self._jobs.run(say, self._say(last, text, options), self._on_said, lambda: self.send(text))
        return True

    def edit(self, key: Any, text: str) -> None:
        """Say something else in the place of a question, as another version of it."""
        index = self._index(key)
        options = self._checked_options()
        if index is None or self.busy or self._loaded is None or self._chat is None or options is None:
            return
        before = self._path[index - 1].key if index else None
        self._jobs.run(say, self._say(before, text, options), self._on_said, lambda: self.edit(key, text))

    def _say(self, after: int | None, text: str, options: Any) -> Say:
        chat = self._chat.key if self._chat is not None else None
        return Say(self._kept_in, chat, after, text, options.system, self._preset(), self._title_of_model())

    def again(self, key: Any) -> None:
        """Have another reply written, as another version of this one."""
        index = self._index(key)
        if index is None or self.busy or self._loaded is None:
            return
        self._branch(self._path[index], "", [])

    def take_token(self, key: Any, number: int, token: str, probability: float) -> None:
        """Have another version written that is the same up to a token, and goes on with this one."""
        index = self._index(key)
        if index is None or self.busy or self._loaded is None:
            return
        from lmstudio_app.chat.engine import Piece
        from lmstudio_app.chat.token_text import BROKEN

        if BROKEN in token or token in self._loaded.tokenizer.all_special_tokens:
            self.noticed.emit(
                self.tr(
                    "This token is no text: it ends or divides turns, or is a part of a character. Take another one."
                )
            )
            return
        reply = self._path[index]
        pieces = list(reply.pieces[:number])
        candidates = reply.pieces[number].candidates
        pieces.append(Piece(token, -1, probability, candidates))
        self._branch(reply, "".join(piece.text for piece in pieces), pieces)

    def go_on(self, key: Any) -> None:
        """Let the model go on where a reply was cut off or stopped."""
        index = self._index(key)
        if index is None or index != len(self._path) - 1 or self.busy or self._loaded is None:
            return
        reply = self._path[index]
        self._start(reply, reply.text, list(reply.pieces), (reply.tokens, reply.seconds))

    def retry(self, key: Any) -> None:
        """Write a reply that has failed, in its place."""
        index = self._index(key)
        if index is None or self.busy or self._loaded is None:
            return
        self._path = self._path[: index + 1]
        self._start(self._path[index], "", [], (0, 0.0))

    def choose_branch(self, key: Any, number: int) -> None:
        """Show another version of a message, and what followed it."""
        if not self.busy:
            request = ChooseBranch(self._kept_in, key, number)
            self._jobs.run(choose_branch, request, self._on_changed, lambda: self.choose_branch(key, number))

    def delete_message(self, key: Any) -> None:
        """Show the conversation without a message and what follows it.

        :meth:`restore_message` brings the last one back, and :meth:`forget_deleted` deletes it for good.
        """
        if not self.busy:
            self._deletion.delete(key)

    def restore_message(self) -> None:
        self._deletion.restore()

    def forget_deleted(self) -> None:
        """A deleted message does not come back any more."""
        self._deletion.forget()

    def show_pieces(self, wanted: bool) -> None:
        """Have the tokens of replies ready, also of those that were written long ago."""
        self._with_pieces = wanted
        missing = tuple(said.key for said in self._path if said.role == "assistant" and not said.pieces)
        if wanted and missing:
            handle = self._services.query_runner.start(read_pieces, ReadPieces(self._kept_in, missing), quiet=True)
            handle.succeeded.connect(self._on_pieces)

    def stop(self) -> None:
        """End the reply where it is."""
        if self._writing.busy:
            self._writing.stop()
            self.stopping.emit()

    def keep_settings(self) -> None:
        """The system prompt and the sampling belong to the conversation."""
        options = self._checked_options(quiet=True)
        if self._chat is not None and options is not None:
            request = KeepSettings(
                self._kept_in, self._chat.key, options.system, self._preset(), self._title_of_model()
            )
            handle = self._services.query_runner.start(keep_settings, request, quiet=True)
            handle.failed.connect(lambda error: self.failed.emit(error, self.keep_settings))
        self.counter.count()

    def shutdown(self) -> None:
        """A reply that is being written is kept as it is; there is no event loop any more to wait for that."""
        self.counter.shutdown()
        self._writing.shutdown()
        self._kept_in.close()

    # --- the store

    def _on_opened(self, opened: Opened) -> None:
        self._take(opened)
        self._dropped, self._problem = 0, {}
        self.opened.emit(opened)
        self._show()
        if opened.reached is not None:
            self.reached.emit(opened.reached)
        self.counter.count()

    def _on_changed(self, opened: Opened) -> None:
        self._take(opened)
        self._show(follow=False)
        self.counter.count()

    def _on_removed(self, opened: Opened) -> None:
        """There may be fewer versions of what is shown."""
        if self._chat is not None and opened.key == self._chat.key and not self.busy:
            self._on_changed(opened)

    def _take(self, opened: Opened) -> None:
        """Its messages, with the tokens that are known already."""
        known = {said.key: said.pieces for said in self._path}
        self._chat = opened
        self._path = _with_pieces(opened.path, known)
        if self._with_pieces:
            self.show_pieces(True)

    def _on_pieces(self, found: dict[int, Any]) -> None:
        self._path = _with_pieces(self._path, found)
        self._show(follow=False)

    def _on_said(self, opened: Opened) -> None:
        is_new = self._chat is None
        self._take(opened)
        if is_new:
            self.opened.emit(opened)
        self._start(self._path[-1], "", [], (0, 0.0))
        self.kept.emit()

    # --- replies

    def _branch(self, reply: Said, text: str, pieces: list[Any]) -> None:
        if self._checked_options() is None:
            return

        def _on_begun(opened: Opened) -> None:
            self._take(opened)
            self._start(self._path[-1], text, pieces, (0, 0.0))

        request = BeginReply(self._kept_in, reply.key, self._title_of_model())
        self._jobs.run(begin_reply, request, _on_begun, lambda: self._branch(reply, text, pieces))

    def _start(self, reply: Said, text: str, pieces: list[Any], before: tuple[int, float]) -> None:
        """Have ``reply`` written from ``text`` on, behind what was said before it."""
        options = self._checked_options()
        if options is None or self._loaded is None:
            return
        index = self._index(reply.key)
        assert index is not None
        messages = [{"role": said.role, "content": said.text} for said in self._path[:index] if said.text]
        # another version of a reply is drawn by other numbers; at temperature 0 there are none
        options = dataclasses.replace(options, seed=options.seed + reply.branch[0] - 1)
        self.counter.pause()
        self._problem.pop(reply.key, None)
        self._writing.begin(reply.key, self._loaded, messages, options, text, pieces, before)
        self._show()
        self._tell_busy()

    def _on_grown(self) -> None:
        index = self._index(self._writing.key)
        if index is not None:
            self.turn_changed.emit(self._turn(self._path[index], index))

    def _on_ended(self, ended: Ended) -> None:
        index = self._index(ended.key)
        if index is None:
            return
        if ended.problem is not None:
            self._problem[ended.key] = " ".join(text for text in error_texts(ended.problem) if text)
        self._dropped = ended.report.dropped_messages
        reply = dataclasses.replace(
            self._path[index],
            text=ended.text,
            state=ended.state,
            tokens=ended.report.new_tokens,
            seconds=ended.report.seconds,
            first=ended.report.first_seconds or None,
            pieces=ended.pieces,
            model=self._title_of_model() or self._path[index].model,
        )
        self._path[index] = reply
        self._keep(KeepReply(self._kept_in, ended.key, ended.text, ended.report, ended.pieces))
        self._show(follow=False)
        self.wrote.emit(list(ended.pieces))
        self.noticed.emit(self._remark(reply, ended))
        self._tell_busy()
        self.counter.count()

    def _remark(self, reply: Said, ended: Ended) -> str:
        """Why there is nothing new in another version."""
        options = self._checked_options(quiet=True)
        if options is not None and options.temperature == 0 and reply.branch[1] > 1 and not ended.continued:
            return self.tr(
                "At temperature 0 the most probable token is always taken, so a reply that is written again stays the "
                "same. Raise the temperature for another one."
            )
        return ""

    def _end_reply(self) -> None:
        """Keep what is there of the reply, and hear no more of it."""
        self._jobs.forget()
        self._writing.end()
        self._jobs.forget()

    def _keep(self, request: KeepReply) -> None:
        handle = self._services.query_runner.start(keep_reply, request, quiet=True)
        handle.failed.connect(lambda error: self.failed.emit(error, lambda: self._keep(request)))
        handle.succeeded.connect(lambda _: self.mended.emit())
        handle.succeeded.connect(lambda _: self.kept.emit())

    # --- what is shown

    def _show(self, *, follow: bool = True) -> None:
        self.turns_changed.emit([self._turn(said, index) for index, said in enumerate(self._path)], follow)

    def _turn(self, said: Said, index: int) -> Turn:
        turn = Turn(
            **{item.name: getattr(said, item.name) for item in dataclasses.fields(said)},
            problem=self._problem.get(said.key, self.tr("This reply was not written.")),
            left_out=index < self._dropped,
        )
        if self._writing.busy and said.key == self._writing.key:
            turn = dataclasses.replace(
                turn,
                text=self._writing.text.lstrip(),
                state=WRITING,
                pieces=self._writing.pieces,
                model=self._title_of_model(),
            )
        return turn

    def _tell_busy(self) -> None:
        if self.busy != self._was_busy:
            self._was_busy = self.busy
            self.busy_changed.emit(self._was_busy)

    def _index(self, key: Any) -> int | None:
        return next((index for index, said in enumerate(self._path) if said.key == key), None)

    def _title_of_model(self) -> str:
        return model_title(self._loaded)

    def _checked_options(self, *, quiet: bool = False) -> Any:
        try:
            return self._options()
        except UserError as error:
            if not quiet:
                self.failed.emit(error, None)
            return None

    def messages(self) -> list[dict[str, str]]:
        """What the model would be asked now, the system prompt included."""
        options = self._checked_options(quiet=True)
        system = options.system if options is not None else ""
        said = [{"role": said.role, "content": said.text} for said in self._path if said.text]
        return [{"role": "system", "content": system}, *said] if system else said


def _with_pieces(path: Iterable[Said], known: Mapping[int, Any]) -> list[Said]:
    """The messages with the tokens that are known of them."""
    return [
        dataclasses.replace(said, pieces=known[said.key]) if not said.pieces and known.get(said.key) else said
        for said in path
    ]
