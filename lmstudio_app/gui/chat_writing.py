"""The reply that is being written: its tokens as they come, its times, and that half of it is kept at any time."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, QTimer, Signal

from lmstudio_app.errors import UserError
from lmstudio_app.gui.asker import Asker
from lmstudio_app.gui.chat_queries import STATES, ChatStore, KeepReply, keep_reply
from lmstudio_app.gui.chat_replies import EngineHolder, PieceWritten, ReplyRequest, write_reply
from lmstudio_app.gui.services import Services
from lmstudio_app.gui.widgets.chat_turn import FAILED, STOPPED, WHOLE
from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    from lmstudio_app.chat.engine import Piece, ReplyReport
    from lmstudio_app.models.loading import LoadedModel

log = logging.getLogger(__name__)

KEEP_INTERVAL = 1000  # milliseconds between two keepings of a reply that is being written


@dataclass(frozen=True, eq=False)
class Ended:
    """A reply that has ended. ``problem`` is why it failed; ``continued``: a part of it was there before."""

    key: int
    state: str
    text: str
    pieces: tuple[Piece, ...]
    report: ReplyReport
    problem: UserError | None = None
    continued: bool = False


class ReplyWriting(QObject):
    """One reply at a time."""

    grew = Signal()
    ended = Signal(object)  # Ended

    def __init__(self, services: Services, store: ChatStore, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._services = services
        self._store = store
        self.holder = EngineHolder()
        self.key = 0
        self.text = ""
        self.pieces: list[Piece] = []
        self._busy = False
        self._began = 0.0
        self._first: float | None = None
        self._before = (0, 0.0)  # tokens and seconds of the part that is continued
        self._asker = Asker(services.answer_runner, self)
        self._asker.events.connect(self._on_events)
        self._asker.succeeded.connect(lambda report: self._on_ended(STATES.get(report.ending, WHOLE), report))
        self._asker.stopped.connect(lambda: self._on_ended(STOPPED, self._own_report("stopped")))
        self._asker.failed.connect(lambda error: self._on_ended(FAILED, self._own_report(""), error))
        self._keeping = QTimer(self)
        self._keeping.setInterval(KEEP_INTERVAL)
        self._keeping.timeout.connect(self._keep_half)

    @property
    def busy(self) -> bool:
        return self._busy

    def begin(
        self,
        key: int,
        loaded: LoadedModel,
        messages: Sequence[Mapping[str, str]],
        options: Any,
        text: str,
        pieces: Sequence[Piece],
        before: tuple[int, float],
    ) -> None:
        """Have the reply ``key`` to the ``messages`` written, from ``text`` on, which its ``pieces`` make up.

        ``before``: tokens and seconds that a part took which was written earlier.
        """
        self.key, self.text, self.pieces, self._before = key, text, list(pieces), before
        self._began, self._first, self._busy = time.monotonic(), None, True
        self._keeping.start()
        self._asker.ask(write_reply, ReplyRequest(self.holder, loaded, messages, options, text))

    def stop(self) -> None:
        """End the reply where it is."""
        self._asker.stop()

    def end(self) -> None:
        """End it now; what is there is the reply."""
        if self._busy:
            self._asker.drop()
            self._on_ended(STOPPED, self._own_report("stopped"))

    def shutdown(self) -> None:
        """Keep what is there; there is no event loop any more to wait for that."""
        self._keeping.stop()
        self._asker.drop()
        if self._busy:
            self._busy = False
            report = self._with_before(self._own_report("stopped"))
            request = KeepReply(self._store, self.key, self.text.strip(), report, tuple(self.pieces))
            try:
                keep_reply(request, JobContext())
            except UserError as error:
                log.warning("the last reply was not kept: %s", error.one_line())
        self.holder.close()

    def _on_events(self, events: Sequence[Any]) -> None:
        written = [event for event in events if isinstance(event, PieceWritten)]
        if not written or not self._busy:
            return
        if self._first is None:
            self._first = max(0.0, time.monotonic() - self._began - (time.time() - written[0].time))
        self.pieces += [event.piece for event in written]
        self.text += "".join(event.piece.text for event in written)
        self.grew.emit()

    def _on_ended(self, state: str, report: ReplyReport, problem: UserError | None = None) -> None:
        if not self._busy:
            return
        self._busy = False
        self._keeping.stop()
        continued = bool(self._before[0])
        report = self._with_before(report)
        self.ended.emit(Ended(self.key, state, self.text.strip(), tuple(self.pieces), report, problem, continued))

    def _own_report(self, ending: str) -> ReplyReport:
        """How far the reply is, when the engine cannot tell."""
        from lmstudio_app.chat.engine import ReplyReport

        seconds = time.monotonic() - self._began
        tokens = len(self.pieces) - self._before[0]
        return ReplyReport(new_tokens=tokens, ending=ending, first_seconds=self._first or 0.0, seconds=seconds)

    def _with_before(self, report: ReplyReport) -> ReplyReport:
        """Together with the part of the reply that was there before it was continued."""
        tokens, seconds = self._before
        if not tokens:
            return report
        return dataclasses.replace(
            report, new_tokens=report.new_tokens + tokens, seconds=report.seconds + seconds, first_seconds=0.0
        )

    def _keep_half(self) -> None:
        if self._busy and self.pieces:
            request = KeepReply(self._store, self.key, self.text.strip(), self._own_report(""))
            self._services.query_runner.start(keep_reply, request, quiet=True)
