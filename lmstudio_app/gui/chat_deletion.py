"""Deleting a message of a conversation, in a way that can be taken back for a while."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QObject, Signal

from lmstudio_app.gui.chat_queries import ChatStore, Hidden, OneMessage, hide_message, remove_message, show_hidden
from lmstudio_app.gui.chat_storing import StoreJobs
from lmstudio_app.gui.services import Services


class MessageDeletion(QObject):
    """The message that was deleted last is only hidden, until another one is or it is forgotten."""

    changed = Signal(object)  # Opened: the conversation without the message, or with it again
    hidden = Signal()
    removed = Signal(object)  # Opened: the conversation that a message is out of for good

    def __init__(self, services: Services, store: ChatStore, jobs: StoreJobs, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._services = services
        self._kept_in = store
        self._jobs = jobs
        self._hidden: Hidden | None = None

    def delete(self, key: Any) -> None:
        """Show the conversation without a message and what follows it."""
        self.forget()
        self._jobs.run(hide_message, OneMessage(self._kept_in, key), self._on_hidden, lambda: self.delete(key))

    def restore(self) -> None:
        hidden, self._hidden = self._hidden, None
        if hidden is not None and hidden.leaf is not None:
            self._show(OneMessage(self._kept_in, hidden.leaf))

    def forget(self) -> None:
        """Delete the hidden message for good."""
        hidden, self._hidden = self._hidden, None
        if hidden is not None:
            request = OneMessage(self._kept_in, hidden.message)
            handle = self._services.query_runner.start(remove_message, request, quiet=True)
            handle.succeeded.connect(self.removed)

    def _show(self, request: OneMessage) -> None:
        self._jobs.run(show_hidden, request, self.changed.emit, lambda: self._show(request))

    def _on_hidden(self, hidden: Hidden) -> None:
        self._hidden = hidden
        self.changed.emit(hidden.opened)
        self.hidden.emit()
