"""A conversation at the terminal: lines in, streamed answers out, and a few commands."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import signal
import sys
import threading
import types
from collections.abc import Iterator

from lmstudio_app.chat.conversations import Conversation, Conversations
from lmstudio_app.chat.engine import ChatEngine, Piece, ReplyOptions
from lmstudio_app.chat.presets import find_preset
from lmstudio_app.chat.reply_writer import write_reply
from lmstudio_app.cli.console import EXIT_INTERRUPTED
from lmstudio_app.errors import UserError
from lmstudio_app.jobs import Control, JobContext

_HELP = """\
/regenerate        another answer to the last question, beside the one before
/system TEXT       who the model is to be; without TEXT it is told
/preset NAME       Precise, Balanced, Creative, or your own
/tokens            how much of the context is used
/new               begin another conversation
/help              this list
/quit              end (also Ctrl+D)
Ctrl+C ends an answer where it is.
"""


class Talk:
    """One engine, one person; every answer is stored while it comes."""

    def __init__(
        self, store: Conversations, engine: ChatEngine, options: ReplyOptions, conversation: Conversation | None = None
    ) -> None:
        self._store = store
        self._engine = engine
        self._options = options
        self._conversation = conversation
        if conversation is not None and not options.system:
            self._options = dataclasses.replace(options, system=conversation.system)

    def answer_once(self, question: str) -> int:
        """One question, one answer on stdout; the exit code."""
        self._ask(question)
        return EXIT_INTERRUPTED if self._engine.report.ending == "stopped" else 0

    def run(self) -> int:
        """Ask a person until the end; the exit code."""
        if importlib.util.find_spec("readline"):  # not on Windows, whose terminal edits lines itself
            import readline  # noqa: F401 - the arrow keys in input()
        sys.stderr.write(f"{self._engine.reference} by {self._engine.name}. /help tells what else can be said.\n")
        while True:
            try:
                line = input("> ").strip()
            except EOFError:
                sys.stderr.write("\n")
                return 0
            try:
                if line == "/quit":
                    return 0
                if line.startswith("/"):
                    self._obey(*line[1:].split(maxsplit=1))
                elif line:
                    self._ask(line)
            except UserError as error:
                sys.stderr.write(f"error: {error.one_line()}\n")

    def _obey(self, command: str = "", text: str = "") -> None:
        if command == "regenerate":
            self._regenerate()
        elif command == "system":
            self._set_system(text)
        elif command == "preset":
            chosen, known = find_preset(text).options, self._options
            self._options = dataclasses.replace(
                chosen, system=chosen.system or known.system, max_new_tokens=known.max_new_tokens
            )
        elif command == "tokens":
            used = self._engine.count_tokens(self._messages())
            sys.stderr.write(f"{used} of {self._engine.context_length} tokens\n")
        elif command == "new":
            self._conversation = None
        elif command == "help":
            sys.stderr.write(_HELP)
        else:
            raise UserError("There is no command /{name}.", "Type /help.", name=command)

    def _messages(self) -> list[dict[str, str]]:
        shown = self._store.branch(self._conversation.id) if self._conversation else []
        messages = [{"role": message.role, "content": message.content} for message in shown]
        if messages and self._options.system:
            messages.insert(0, {"role": "system", "content": self._options.system})
        return messages

    def _set_system(self, text: str) -> None:
        if not text:
            sys.stderr.write(f"{self._options.system or 'There is no system prompt.'}\n")
            return
        self._options = dataclasses.replace(self._options, system=text)
        if self._conversation:
            self._store.update(self._conversation.id, system=text)

    def _ask(self, question: str) -> None:
        if self._conversation is None:
            self._conversation = self._store.create(model=self._engine.reference, system=self._options.system)
        self._store.add(self._conversation.id, "user", question)
        self._write(self._options)

    def _regenerate(self) -> None:
        shown = self._store.branch(self._conversation.id) if self._conversation else []
        if not shown or shown[-1].role != "assistant":
            raise UserError("There is no answer yet.", "Ask something first.")
        if self._options.temperature == 0:
            sys.stderr.write("At temperature 0 the answer is always the same; /preset Balanced makes it vary.\n")
        others = len(self._store.siblings(shown[-1].id))
        self._write(dataclasses.replace(self._options, seed=self._options.seed + others))

    def _write(self, options: ReplyOptions) -> None:
        assert self._conversation is not None
        control = Control()
        is_begun = False

        def _print(piece: Piece) -> None:
            nonlocal is_begun
            is_begun = True
            sys.stdout.write(piece.text)
            sys.stdout.flush()

        ctx = JobContext(control=control)
        try:
            with _ctrl_c_stops(control):
                write_reply(self._store, self._conversation.id, self._engine, options, ctx, _print)
        except UserError:
            if is_begun:  # so that the error begins a line
                sys.stdout.write("\n")
                sys.stdout.flush()
            raise
        sys.stdout.write("\n")
        report = self._engine.report
        if report.dropped_messages:
            sys.stderr.write(f"({report.dropped_messages} of the oldest messages no longer fit into the context)\n")


@contextlib.contextmanager
def _ctrl_c_stops(control: Control) -> Iterator[None]:
    """The first Ctrl+C ends the answer where it is, the second everything."""

    def _on_signal(number: int, frame: types.FrameType | None) -> None:
        if control.stopping:
            raise KeyboardInterrupt
        control.stop()

    if threading.current_thread() is not threading.main_thread():  # signals come to the main thread alone
        yield
        return
    previous = signal.signal(signal.SIGINT, _on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
