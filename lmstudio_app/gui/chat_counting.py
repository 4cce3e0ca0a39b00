"""How many tokens a conversation and its draft take, counted beside the window while nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer, Signal

from lmstudio_app.gui.asker import Asker
from lmstudio_app.gui.chat_replies import CountRequest, EngineHolder, TokenCounts, count_tokens
from lmstudio_app.gui.services import Services

if TYPE_CHECKING:
    from lmstudio_app.models.loading import LoadedModel

_PAUSE = 250  # milliseconds of no change after which is counted


class TokenCounter(QObject):
    """``messages`` gives what the model would be asked now."""

    counted = Signal(object)  # TokenCounts

    def __init__(
        self,
        services: Services,
        holder: EngineHolder,
        messages: Callable[[], Sequence[Mapping[str, str]]],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._holder = holder
        self._messages = messages
        self._loaded: LoadedModel | None = None
        self._draft = ""
        self._asker = Asker(services.answer_runner, self)
        self._asker.succeeded.connect(self.counted)
        # why it cannot be counted is told by the reply
        self._asker.failed.connect(lambda _: self.counted.emit(TokenCounts(0, 0, 0)))
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_PAUSE)
        self._timer.timeout.connect(self._ask)

    def set_model(self, loaded: LoadedModel | None) -> None:
        self._loaded = loaded
        self.count()

    def set_draft(self, draft: str) -> None:
        self._draft = draft.strip()
        self.count()

    def count(self) -> None:
        """Count a moment later."""
        self._timer.start()

    def pause(self) -> None:
        """Do not hold up a reply; :meth:`count` goes on."""
        self._timer.stop()
        self._asker.drop()

    def shutdown(self) -> None:
        self._loaded = None
        self.pause()

    def _ask(self) -> None:
        if self._loaded is not None:
            self._asker.ask(count_tokens, CountRequest(self._holder, self._loaded, self._messages(), self._draft))
