"""The conversations that were had: listed, searched, renamed, deleted and brought back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QObject, Signal

from lmstudio_app.errors import UserError
from lmstudio_app.gui.chat_queries import (
    ChatStore,
    Listing,
    OneChat,
    delete_chat,
    list_chats,
    rename_chat,
    restore_chat,
)
from lmstudio_app.gui.job_runner import JobHandle
from lmstudio_app.gui.services import Services
from lmstudio_app.gui.widgets.chat_list import Listed
from lmstudio_app.jobs import Job


class ChatLibrary(QObject):
    """``failed`` carries an error, and what to call to try again."""

    listed = Signal(object)  # list[Listed], of what the search finds
    deleted = Signal(object)  # the conversation, as Listed
    restored = Signal(object)  # its key
    failed = Signal(object, object)
    mended = Signal()

    def __init__(self, services: Services, store: ChatStore, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._store = store
        self._services = services
        self._search = ""
        self._known: list[Listed] = []
        self._looking: JobHandle | None = None
        self._deleted: Any = None

    @property
    def known(self) -> list[Listed]:
        return list(self._known)

    def refresh(self) -> None:
        self._looking = handle = self._services.query_runner.start(
            list_chats, Listing(self._store, self._search), quiet=True
        )
        handle.succeeded.connect(lambda found: self._on_listed(handle, found))
        handle.failed.connect(lambda error: self._on_failed(handle, error))

    def search(self, text: str) -> None:
        """List only the conversations in which these words stand; empty: all."""
        self._search = text
        self.refresh()

    def rename(self, key: Any, title: str) -> None:
        self._do(rename_chat, OneChat(self._store, key, title), lambda _: None, lambda: self.rename(key, title))

    def delete(self, key: Any) -> None:
        """:meth:`undo` brings the last one back."""
        entry = next((entry for entry in self._known if entry.key == key), None)

        def _on_deleted(_: Any) -> None:
            self._deleted = key
            self.deleted.emit(entry)

        if entry is not None:
            self._do(delete_chat, OneChat(self._store, key), _on_deleted, lambda: self.delete(key))

    def undo(self) -> None:
        key, self._deleted = self._deleted, None
        if key is not None:
            self._do(restore_chat, OneChat(self._store, key), lambda _: self.restored.emit(key), lambda: None)

    def shutdown(self) -> None:
        self._looking = None

    def _do(self, job: Job, request: Any, done: Callable[[Any], object], again: Callable[[], object]) -> None:
        handle = self._services.query_runner.start(job, request, quiet=True)
        handle.succeeded.connect(done)
        handle.succeeded.connect(lambda _: self.refresh())
        handle.failed.connect(lambda error: self.failed.emit(error, again))

    def _on_failed(self, handle: JobHandle, error: UserError) -> None:
        if handle is self._looking:
            self.failed.emit(error, self.refresh)

    def _on_listed(self, handle: JobHandle, found: list[Listed]) -> None:
        if handle is self._looking:
            self._known = found
            self.mended.emit()
            self.listed.emit(found)
