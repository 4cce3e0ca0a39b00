"""One model of the hub: whether it fits, what it asks of you, its files, its card, and the button that brings it."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import QHBoxLayout, QLabel, QStackedWidget, QTabWidget, QVBoxLayout, QWidget

from lmstudio_app.errors import UserError
from lmstudio_app.files import format_bytes
from lmstudio_app.gui import hub_texts, theme
from lmstudio_app.gui.downloads import DONE, PAUSED, Download
from lmstudio_app.gui.hub_queries import Hit, HubModel
from lmstudio_app.gui.text import error_texts
from lmstudio_app.gui.widgets.buttons import make_button
from lmstudio_app.gui.widgets.empty_state import EmptyState
from lmstudio_app.gui.widgets.hub_card import HubCard
from lmstudio_app.gui.widgets.hub_files import HubFiles
from lmstudio_app.gui.widgets.notice import Notice
from lmstudio_app.gui.widgets.scaled_label import Heading, ScaledLabel
from lmstudio_app.models.hub_client import TOKEN


class HubDetailsView(QWidget):
    """Knows nothing of jobs: it is told what to show and says what was asked for."""

    download_requested = Signal(str, object)  # hub id, names of the weights
    load_requested = Signal(str)
    page_requested = Signal(str)  # hub id
    link_clicked = Signal(str)
    token_requested = Signal()
    retry_requested = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._hit: Hit | None = None
        self._model: HubModel | None = None
        self._download: Download | None = None
        self.empty = EmptyState(self)
        self.page = QWidget(self)
        self._stack = QStackedWidget(self)
        self._stack.addWidget(self.empty)
        self._stack.addWidget(self.page)
        outside = QVBoxLayout(self)
        outside.setContentsMargins(0, 0, 0, 0)
        outside.addWidget(self._stack)
        self._build()
        self.clear()

    def _build(self) -> None:
        self.title = Heading("", self, scale=1.35)
        self.title.setTextFormat(Qt.TextFormat.PlainText)
        self.title.setWordWrap(True)
        self.facts = QLabel(self)
        self.facts.setTextFormat(Qt.TextFormat.PlainText)
        self.facts.setWordWrap(True)
        self.facts.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        self.verdict = ScaledLabel("", self)
        self.verdict.setWordWrap(True)
        self.access = Notice(self)
        self.token_button = make_button(
            self.tr("Access token…"), self.tr("Log in to the hub, for models that are given to you only"), self
        )
        self.token_button.clicked.connect(self.token_requested)
        self.code_notice = Notice(self)
        self.problem = Notice(self)
        self.files = HubFiles(self)
        self.files.changed.connect(self._update_action)
        self.card = HubCard(self)
        self.card.link_clicked.connect(self.link_clicked)
        self.tabs = QTabWidget(self)
        self.tabs.setDocumentMode(True)
        self.tabs.addTab(self.card, self.tr("Card"))
        self.tabs.addTab(self.files, self.tr("Files"))
        self.tabs.setTabToolTip(0, self.tr("What its authors write of it"))
        self.tabs.setTabToolTip(1, self.tr("What is in the repository, and which of it is downloaded"))
        self.download_button = make_button(self.tr("Download"), self.tr("Bring it to this computer"), self)
        self.download_button.setProperty("primary", True)
        self.download_button.clicked.connect(self._on_download)
        self.page_button = make_button(
            self.tr("Open its page"), self.tr("Show the model's page of the hub in the web browser"), self
        )
        self.page_button.clicked.connect(lambda: self._hit and self.page_requested.emit(self._hit.result.repo_id))
        self.amount = QLabel(self)
        self.amount.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        buttons = QHBoxLayout()
        buttons.addWidget(self.download_button)
        buttons.addWidget(self.amount)
        buttons.addStretch(1)
        buttons.addWidget(self.token_button)
        buttons.addWidget(self.page_button)
        layout = QVBoxLayout(self.page)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.4))
        for widget in (self.title, self.facts, self.verdict, self.access, self.code_notice, self.problem):
            layout.addWidget(widget)
        layout.addWidget(self.tabs, 1)
        layout.addLayout(buttons)

    # --- what it is told

    @property
    def repo_id(self) -> str:
        """The model that is shown, or asked about; empty when there is none."""
        return self._hit.result.repo_id if self._hit else ""

    @property
    def shows_model(self) -> bool:
        return self._stack.currentWidget() is self.page

    def clear(self) -> None:
        self._hit = self._model = None
        self.empty.clear_buttons()
        self.empty.set_texts("", self.tr("Choose a model on the left to see its card, its licence and its files."))
        self._stack.setCurrentWidget(self.empty)

    def show_asking(self, hit: Hit) -> None:
        """The hub is being asked about this one."""
        self._hit, self._model = hit, None
        self.empty.clear_buttons()
        self.empty.set_texts(hit.result.repo_id, self.tr("Asking the hub for its card and files…"))
        self._stack.setCurrentWidget(self.empty)

    def show_error(self, error: UserError) -> None:
        message, remedy = error_texts(error)
        self.empty.clear_buttons()
        self.empty.set_texts(message, remedy)
        repo_id = self.repo_id
        self.empty.offer(
            self.tr("Try again"), self.tr("Ask the hub once more"), lambda: self.retry_requested.emit(repo_id)
        )
        if error.parameters.get("needs") == TOKEN:
            self.empty.offer(self.token_button.text(), self.token_button.toolTip(), lambda: self.token_requested.emit())
        if error.parameters.get("page"):
            self.empty.offer(
                self.page_button.text(), self.page_button.toolTip(), lambda: self.page_requested.emit(repo_id)
            )
        self._stack.setCurrentWidget(self.empty)

    def show_model(self, model: HubModel) -> None:
        self._model, self._hit = model, model.hit
        result = model.hit.result
        self.title.setText(result.repo_id)
        self.facts.setText(f"{hub_texts.what_text(model.hit)} · {hub_texts.how_text(model.hit)}")
        self._show_verdict(model.hit)
        self.access.set_text(self._access_text(model))
        self.token_button.setVisible(bool(result.gated or result.private))
        names = ", ".join(f"{file.path} ({format_bytes(file.size)})" for file in model.code)
        self.code_notice.set_text(
            self.tr(
                "This model brings program code of its own: {names}. It is downloaded to be read, and does not run "
                "unless you allow these very files afterwards."
            ).format(names=names)
            if names
            else ""
        )
        self.files.set_model(model)
        self.problem.set_text(self._problem_text(model))
        is_withheld = any(file.path == "README.md" for file in model.details.files)
        self.card.set_card(
            model.card, self.tr("The hub shows its card only to those who have access.") if is_withheld else ""
        )
        self._stack.setCurrentWidget(self.page)
        self._update_action()

    def _show_verdict(self, hit: Hit) -> None:
        colour = hub_texts.verdict_colour(hit.verdict, self.palette())
        palette = self.verdict.palette()
        palette.setColor(QPalette.ColorRole.WindowText, colour)
        self.verdict.setPalette(palette)
        self.verdict.setText(hub_texts.verdict_sentence(hit))
        self.verdict.setToolTip(hub_texts.verdict_reason(hit))
        self.verdict.setAccessibleDescription(hub_texts.verdict_reason(hit))

    def _access_text(self, model: HubModel) -> str:
        result = model.hit.result
        if result.gated:
            return self.tr(
                "Gated: its authors give it to those who have accepted their terms. Log in on its page, accept them "
                "there, and give the application an access token of the same account."
            )
        if result.private:
            return self.tr("Private: only accounts that may see it get it. Your access token is sent along.")
        return ""

    def _problem_text(self, model: HubModel) -> str:
        """Why it cannot be downloaded; several GGUF files are no problem, as one is chosen."""
        if model.choices:
            return ""
        if model.details.problem is not None:
            return " ".join(error_texts(model.details.problem))
        return self.tr("It has no weights that can be read here. Choose another model.")

    def set_download(self, download: Download | None) -> None:
        """How the download of the shown model goes."""
        self._download = download
        self._update_action()

    def _update_action(self) -> None:
        model, button = self._model, self.download_button
        if model is None:
            return
        download = self._download
        going_on = download is not None and download.is_going_on
        present = self._is_present(model)
        self.amount.setText("" if present else format_bytes(self.files.size) if self.files.size else "")
        if present:
            text, tip = self.tr("Load"), self.tr("Read it into memory, on the first of these pages")
        elif going_on:
            text, tip = self.tr("Downloading…"), self.tr("It is on its way; see below")
        elif download is not None and download.state == PAUSED:
            text, tip = self.tr("Continue"), self.tr("Go on where the download ended")
        else:
            text, tip = self.tr("Download"), self.tr("Bring the files that are marked to this computer")
        button.setText(text)
        button.setToolTip(tip)
        button.setAccessibleName(text)
        button.setAccessibleDescription(tip)
        button.setEnabled(present or (bool(self.files.fetched) and not going_on))

    def _is_present(self, model: HubModel) -> bool:
        return model.hit.present or (self._download is not None and self._download.state == DONE)

    def activate(self) -> None:
        """What the button does."""
        if self.download_button.isEnabled() and self.shows_model:
            self._on_download()

    def _on_download(self) -> None:
        if self._model is None:
            return
        if self._is_present(self._model):
            self.load_requested.emit(self.repo_id)
        else:
            self.download_requested.emit(self.repo_id, self.files.weights)
