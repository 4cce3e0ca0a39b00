"""“Find on the hub”: search, look, download. The network is asked only when somebody asks for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from PySide6.QtCore import QUrl, Signal
from PySide6.QtGui import QDesktopServices, QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QSplitter, QStackedWidget, QVBoxLayout, QWidget

from lmstudio_app.errors import UserError
from lmstudio_app.gui import dialogs, theme
from lmstudio_app.gui.hub_queries import (
    Hit,
    Hits,
    NetworkState,
    SearchRequest,
    describe_hub_model,
    find_models,
    read_network,
)
from lmstudio_app.gui.job_runner import JobHandle
from lmstudio_app.gui.services import Services
from lmstudio_app.gui.text import error_texts, number_text
from lmstudio_app.gui.widgets.empty_state import EmptyState
from lmstudio_app.gui.widgets.hub_details import HubDetailsView
from lmstudio_app.gui.widgets.hub_downloads import DownloadsPanel
from lmstudio_app.gui.widgets.hub_filters import HubFilters
from lmstudio_app.gui.widgets.hub_results import HubResultsList
from lmstudio_app.gui.widgets.hub_token import TokenDialog
from lmstudio_app.gui.widgets.notice import Notice
from lmstudio_app.gui.widgets.scaled_label import Hint
from lmstudio_app.models.hub_client import TOKEN, endpoint


class HubPage(QWidget):
    load_requested = Signal(str)  # reference of a model that is here

    def __init__(self, services: Services, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._services = services
        self._settings = services.settings
        self._request: SearchRequest | None = None
        self._cursor = ""
        self._search: JobHandle | None = None
        self._asking: JobHandle | None = None
        self._network: JobHandle | None = None
        self.filters = HubFilters(self)
        self.filters.set_values(self._settings.get("hub.filters", {}))
        self.empty = EmptyState(self)
        self.results = HubResultsList(self)
        self.notice = Notice(self)
        self.details = HubDetailsView(self)
        self.downloads = DownloadsPanel(services.downloads, self)
        self._build()
        self._connect()
        self._show_beginning()

    def _build(self) -> None:
        self.count = Hint("", self)
        self.more_button = QPushButton(self.tr("More"), self)
        self.more_button.setAccessibleName(self.tr("More models"))
        self.more_button.setToolTip(self.tr("Ask the hub for the next page"))
        below = QHBoxLayout()
        below.addWidget(self.count, 1)
        below.addWidget(self.more_button)
        found = QWidget(self)
        found_layout = QVBoxLayout(found)
        found_layout.setContentsMargins(0, 0, 0, 0)
        found_layout.setSpacing(theme.em(self, 0.3))
        found_layout.addWidget(self.results, 1)
        found_layout.addWidget(self.notice)
        found_layout.addLayout(below)
        self._found = found
        self._left = QStackedWidget(self)
        self._left.addWidget(self.empty)
        self._left.addWidget(found)
        self._splitter = QSplitter(self)
        self._splitter.addWidget(self._left)
        self._splitter.addWidget(self.details)
        self._splitter.setChildrenCollapsible(False)
        self._splitter.setHandleWidth(theme.em(self, 0.6))
        self._splitter.setSizes(
            self._settings.get("hub.splitter", [theme.characters(self, 80), theme.characters(self, 90)])
        )
        self._splitter.setStretchFactor(1, 1)
        self._left.setMinimumWidth(theme.characters(self, 44))
        self.details.setMinimumWidth(theme.characters(self, 44))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.5))
        layout.addWidget(self.filters)
        layout.addWidget(self._splitter, 1)
        layout.addWidget(self.downloads)

    def _connect(self) -> None:
        self.filters.search_requested.connect(self.search)
        self.filters.stop_requested.connect(self.stop)
        self.filters.token_requested.connect(self.ask_token)
        self.filters.changed.connect(self._on_filters_changed)
        self.results.chosen.connect(self._on_chosen)
        self.results.activated_hit.connect(lambda _: self.details.activate())
        self.more_button.clicked.connect(self.search_more)
        self._splitter.splitterMoved.connect(lambda: self._settings.set("hub.splitter", self._splitter.sizes()))
        details, downloads = self.details, self._services.downloads
        details.download_requested.connect(lambda repo_id, weights: downloads.add(repo_id, weights))
        details.load_requested.connect(self.load_requested)
        details.page_requested.connect(self.open_page)
        details.link_clicked.connect(self._on_link)
        details.token_requested.connect(self.ask_token)
        details.retry_requested.connect(lambda _: self._ask_again())
        for signal in (downloads.added, downloads.changed, downloads.removed):
            signal.connect(self._on_download_changed)
        self.downloads.load_requested.connect(self.load_requested)
        self.downloads.token_requested.connect(self.ask_token)

    # --- searching

    @property
    def busy(self) -> bool:
        """Is the hub being searched?"""
        return self._search is not None

    def search(self) -> None:
        """Ask for the first page of what the fields say."""
        self._request = self.filters.request()
        self._begin(self._request, more=False)

    def search_more(self) -> None:
        if self._request is not None and self._cursor:
            query = dataclasses.replace(self._request.query, cursor=self._cursor)
            self._begin(dataclasses.replace(self._request, query=query), more=True)

    def stop(self) -> None:
        if self._search is not None:
            self._search.cancel()

    def shutdown(self) -> None:
        for handle in (self._search, self._asking, self._network):
            if handle is not None:
                handle.cancel()
        self._search = self._asking = self._network = None

    def _begin(self, request: SearchRequest, *, more: bool) -> None:
        if self._search is not None:
            self._search.cancel()
        if self._asking is not None:
            self._asking.cancel()  # the same thread asks
        handle = self._services.hub_runner.start(find_models, request, title=self.tr("Searching the hub"), quiet=True)
        self._search = handle
        handle.succeeded.connect(lambda hits: self._on_found(handle, hits, more=more))
        handle.failed.connect(lambda error: self._on_failed(handle, error, more=more))
        handle.cancelled.connect(lambda: self._on_stopped(handle, more=more))
        handle.finished.connect(lambda: self._on_search_finished(handle))
        self.filters.set_busy(True)
        self.more_button.setEnabled(False)
        self.notice.set_text("")
        if not more:
            self.details.clear()
            self._show_empty(self.tr("Searching…"), self.tr("The hub is being asked."))

    def _on_found(self, handle: JobHandle, hits: Hits, *, more: bool) -> None:
        if handle is not self._search:
            return
        self._cursor = hits.cursor
        if more:
            self.results.append(hits.hits)
        else:
            self.results.set_hits(hits.hits)
        if not self.results.hits:
            self._show_nothing(more_to_come=bool(hits.cursor))
            return
        self._left.setCurrentWidget(self._found)
        self.details.show()
        self.count.setText(self.tr("{count} models so far").format(count=number_text(len(self.results.hits))))
        if not hits.cursor:
            self.count.setText(self.tr("{count} models, no more").format(count=number_text(len(self.results.hits))))

    def _show_nothing(self, *, more_to_come: bool) -> None:
        self._show_empty(
            self.tr("No model is like that"),
            self.tr("Use fewer or other words, or choose “any” for the task, the size and the licence."),
        )
        if more_to_come:
            self.empty.offer(self.tr("Look further"), self.tr("Ask the hub for the next page"), self.search_more)

    def _on_failed(self, handle: JobHandle, error: UserError, *, more: bool) -> None:
        if handle is not self._search:
            return
        message, remedy = error_texts(error)
        if more:
            self.notice.set_text(f"{message} {remedy}")
            return
        self._show_empty(message, remedy)
        self.empty.offer(self.tr("Try again"), self.tr("Ask the hub once more"), self.search)
        if error.parameters.get("needs") == TOKEN:
            self.empty.offer(self.filters.token_button.text(), self.filters.token_button.toolTip(), self.ask_token)
        self._ask_network()

    def _on_stopped(self, handle: JobHandle, *, more: bool) -> None:
        if handle is self._search and not more:
            self._show_empty(self.tr("Stopped"), self.tr("The hub is not asked any more."))
            self.empty.offer(self.tr("Search again"), self.filters.search_button.toolTip(), self.search)

    def _on_search_finished(self, handle: JobHandle) -> None:
        if handle is self._search:
            self._search = None
            self.filters.set_busy(False)
            self.more_button.setEnabled(bool(self._cursor))

    def _on_filters_changed(self) -> None:
        self._settings.set("hub.filters", self.filters.values())
        if self._request is not None:  # somebody has asked before, so another choice asks again
            self.search()

    # --- before anything was asked, and without a network

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if self._request is None:
            self._ask_network()
        self.filters.edit.setFocus()

    def _show_empty(self, title: str, text: str) -> None:
        self.empty.clear_buttons()
        self.empty.set_texts(title, text)
        self._left.setCurrentWidget(self.empty)
        self.details.hide()

    def _show_beginning(self) -> None:
        self._show_empty(
            self.tr("Find a model on the hub"),
            self.tr(
                "The Hugging Face hub has models for every task. Nothing is asked of the network before you search, "
                "and then only what you search for is sent."
            ),
        )

    def _ask_network(self) -> None:
        """Whether it may be used at all; a question to the settings on the disk, not to the network."""
        self._network = handle = self._services.query_runner.start(read_network, None, quiet=True)
        handle.succeeded.connect(self._on_network)

    def _on_network(self, state: NetworkState) -> None:
        self.filters.set_host(state.host)
        if state.allowed or self.results.hits:
            return
        if state.by_environment:
            self._show_empty(
                self.tr("The network is switched off"),
                self.tr(
                    "The variable HF_HUB_OFFLINE forbids it, so the hub cannot be searched. Unset it and start the "
                    "application again. Models on this computer work as ever."
                ),
            )
            return
        self._show_empty(
            self.tr("The network is switched off"),
            self.tr("The setting network.allowed forbids it. Models on this computer work as ever."),
        )
        self.empty.offer(
            self.tr("Allow the network"),
            self.tr("From now on the hub may be asked, when you search or download"),
            self._on_allow_network,
        )

    def _on_allow_network(self) -> None:
        self._settings.set("network.allowed", True)
        self._show_beginning()
        self.filters.edit.setFocus()

    # --- one model

    def _on_chosen(self, hit: Hit) -> None:
        if self._asking is not None:
            self._asking.cancel()
        repo_id = hit.result.repo_id
        self.details.show_asking(hit)
        self.details.set_download(self._services.downloads.find(repo_id))
        self._asking = handle = self._services.hub_runner.start(describe_hub_model, repo_id, quiet=True)
        handle.succeeded.connect(lambda model: self._when_asked(handle, lambda: self.details.show_model(model)))
        handle.failed.connect(lambda error: self._when_asked(handle, lambda: self.details.show_error(error)))

    def _when_asked(self, handle: JobHandle, show: Callable[[], None]) -> None:
        if handle is self._asking:
            self._asking = None
            show()

    def _ask_again(self) -> None:
        hit = self.results.current
        if hit is not None:
            self._on_chosen(hit)

    def _on_download_changed(self, reference: str) -> None:
        if reference == self.details.repo_id:
            self.details.set_download(self._services.downloads.find(reference))

    def open_page(self, repo_id: str) -> None:
        """The model's page of the hub, in the web browser."""
        QDesktopServices.openUrl(QUrl(f"{endpoint()}/{repo_id}"))

    def _on_link(self, address: str) -> None:
        self.link_question = dialogs.ask(
            self,
            title=self.tr("Open a link"),
            question=self.tr("Open this address in the web browser?"),
            explanation=address,
            yes=self.tr("Open it"),
            no=self.tr("Stay here"),
            on_yes=lambda: QDesktopServices.openUrl(QUrl(address)),
        )

    def ask_token(self) -> None:
        """Open the dialog of the access token; after a change the shown model is asked for again."""
        self.token_dialog = TokenDialog(self._services, self.window())
        self.token_dialog.changed.connect(self._ask_again)
        self.token_dialog.open()
