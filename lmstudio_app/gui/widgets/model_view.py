"""The right side of the Model page: what is loaded now, and what the selected model is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QPushButton,
    QScrollArea,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from lmstudio_app.errors import UserError
from lmstudio_app.files import format_bytes
from lmstudio_app.gui import theme
from lmstudio_app.gui.text import error_texts
from lmstudio_app.gui.widgets.architecture_card import ArchitectureCard
from lmstudio_app.gui.widgets.attached_bar import AttachedBar
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.empty_state import EmptyState
from lmstudio_app.gui.widgets.scaled_label import Heading
from lmstudio_app.models.card import ModelCard
from lmstudio_app.models.catalog import CatalogEntry, HubSource, WheelSource

if TYPE_CHECKING:
    from lmstudio_app.gui.hub_queries import ShownCode
    from lmstudio_app.models.loading import LoadedModel


class LoadedBanner(QFrame):
    """One line: which model is in memory, where, and how exactly; and the way on."""

    show_requested = Signal()
    continue_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self.state = Heading("", self, scale=1.0)
        self.text = ElidedLabel(self)
        self.button = QPushButton(self.tr("Show it"), self)
        self.button.setAccessibleName(self.tr("Show the loaded model"))
        self.button.setToolTip(self.tr("Select the loaded model in the list"))
        self.button.clicked.connect(self.show_requested)
        self.continue_button = QPushButton(self.tr("Continue to Data"), self)
        self.continue_button.setProperty("primary", True)
        self.continue_button.setAccessibleName(self.tr("Continue to Data"))
        self.continue_button.setToolTip(self.tr("The next step: choose the examples that this model learns from"))
        self.continue_button.clicked.connect(self.continue_requested)
        self.button.hide()
        self.continue_button.hide()
        layout = QHBoxLayout(self)
        pad = theme.em(self, 0.4)
        layout.setContentsMargins(pad * 3, pad, pad * 2, pad)
        layout.setSpacing(theme.em(self, 0.7))
        layout.addWidget(self.state)
        layout.addWidget(self.text, 1)
        layout.addWidget(self.button)
        layout.addWidget(self.continue_button)
        self.set_loaded(None, "")

    def minimumSizeHint(self) -> QSize:
        """As high as with its buttons, so that the page below does not jump when they come."""
        margins = self.layout().contentsMargins()
        height = self.continue_button.sizeHint().height() + margins.top() + margins.bottom()
        return super().minimumSizeHint().expandedTo(QSize(0, height))

    def sizeHint(self) -> QSize:
        return super().sizeHint().expandedTo(self.minimumSizeHint())

    def set_loaded(self, loaded: LoadedModel | None, note: str) -> None:
        """``note``: what just went wrong; the model that was loaded before is still there."""
        self.continue_button.setVisible(loaded is not None)
        if loaded is None:
            self.state.setText(self.tr("Nothing loaded"))
            self.text.setText(note or self.tr("Choose a model on the left and load it."))
            return
        self.state.setText(self.tr("Loaded"))
        where = self.tr("{name} on {device}, {precision}").format(
            name=loaded.card.title or loaded.folder.name,
            device=str(loaded.device).upper(),
            precision=str(loaded.dtype).removeprefix("torch."),
        )
        self.text.setText(self.tr("{note} {model} stays loaded.").format(note=note, model=where) if note else where)


class ModelView(QWidget):
    """Shows the card of a model on this disk, an invitation to download one, or what is wrong with one."""

    loaded_requested = Signal()
    download_requested = Signal()
    continue_requested = Signal()
    code_requested = Signal(object)  # ShownCode

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._code: ShownCode | None = None
        self.banner = LoadedBanner(self)
        self.banner.show_requested.connect(self.loaded_requested)
        self.banner.continue_requested.connect(self.continue_requested)
        self.title = Heading("", self, scale=1.45)
        self.title.setTextFormat(Qt.TextFormat.PlainText)
        self.subtitle = ElidedLabel(self)
        self.subtitle.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        self.card = ArchitectureCard()
        self.notice = EmptyState(self)
        self.download_button: QPushButton | None = None
        self._loaded: LoadedModel | None = None
        self._shown = ""
        card_page = QWidget(self)
        page_layout = QVBoxLayout(card_page)
        page_layout.setContentsMargins(0, 0, 0, 0)
        page_layout.setSpacing(theme.em(self, 0.3))
        page_layout.addWidget(self.title)
        page_layout.addWidget(self.subtitle)
        self.code_bar = AttachedBar(
            [("show", self.tr("Show the files…"), self.tr("Read the program code, and allow it or not"))], self
        )
        self.code_bar.chosen.connect(lambda _: self.code_requested.emit(self._code))
        page_layout.addWidget(self.code_bar)
        page_layout.addWidget(self._scrolled(self.card), 1)
        self._pages = QStackedWidget(self)
        self._pages.addWidget(card_page)
        self._pages.addWidget(self.notice)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.6))
        layout.addWidget(self.banner)
        layout.addWidget(self._pages, 1)

    def _scrolled(self, widget: QWidget) -> QScrollArea:
        area = QScrollArea(self)
        area.setWidget(widget)
        area.setWidgetResizable(True)
        area.setAccessibleName(self.tr("What the model is"))
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        return area

    @property
    def shows_card(self) -> bool:
        return self._pages.currentIndex() == 0

    def set_loaded(self, loaded: Any, note: str) -> None:
        self._loaded = loaded
        self.banner.set_loaded(loaded, note)
        self._update_button()

    def show_card(self, card: ModelCard) -> None:
        self._shown = card.reference
        self.title.setText(card.title or card.folder.name)
        self.subtitle.setText(card.reference)
        self.card.set_card(card)
        self._pages.setCurrentIndex(0)
        self._update_button()

    def set_code(self, shown: ShownCode | None) -> None:
        """The program code that the shown model brings along, when it needs it."""
        self._code = shown
        if shown is None:
            self.code_bar.set_text("")
        elif shown.allowed:
            self.code_bar.set_text(self.tr("Its own program code is allowed and runs when it is loaded."))
        else:
            self.code_bar.set_text(self.tr("It needs program code of its own, which is off until you allow it."))

    def show_download(self, reference: str, entry: CatalogEntry | None) -> None:
        """A model that is not on this computer: what it is, how large, and from where it comes."""
        self._shown = reference
        if entry is None:
            text = self.tr(
                "{reference} is a model of the Hugging Face hub and not on this computer yet. Its size is known once "
                "the download begins; a download that is cut goes on where it ended."
            ).format(reference=reference)
            self.notice.set_texts(reference.split("/")[-1], text)
        else:
            text = self.tr("{description}\n\n{size} on disk. Licence: {license}. Comes from: {sources}.").format(
                description=entry.description,
                size=format_bytes(entry.size),
                license=entry.license,
                sources=self._sources(entry),
            )
            self.notice.set_texts(entry.title, text)
        self.notice.clear_buttons()
        self.download_button = self.notice.add_button(
            self.tr("Download and load"), self.tr("Bring the model to this computer and load it"), primary=True
        )
        self.download_button.clicked.connect(self.download_requested)
        self._pages.setCurrentIndex(1)
        self._update_button()

    def _sources(self, entry: CatalogEntry) -> str:
        names = []
        for source in entry.sources:
            if isinstance(source, WheelSource):
                names.append(self.tr("the Python package index ({name})").format(name=source.package))
            elif isinstance(source, HubSource):
                names.append(self.tr("the Hugging Face hub ({name})").format(name=source.repo_id))
        return self.tr(", or else ").join(names)

    def show_problem(self, title: str, error: UserError) -> None:
        message, remedy = error_texts(error)
        self._shown = ""
        self.notice.set_texts(title, f"{message}\n\n{remedy}")
        self.notice.clear_buttons()
        self.download_button = None
        self._pages.setCurrentIndex(1)
        self._update_button()

    def set_download_enabled(self, enabled: bool) -> None:
        if self.download_button is not None:
            self.download_button.setEnabled(enabled)

    def _update_button(self) -> None:
        self.banner.button.setVisible(self._loaded is not None and self._loaded.reference != self._shown)
