"""The pages of the Model page, and what stands above them: choose and load, find on the hub, what is on the disk."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QStackedWidget, QTabBar, QVBoxLayout, QWidget

from lmstudio_app.files import format_bytes
from lmstudio_app.gui import theme
from lmstudio_app.gui.downloads import DONE, STARTER_PACK
from lmstudio_app.gui.services import Services
from lmstudio_app.gui.widgets.hub_page import HubPage
from lmstudio_app.gui.widgets.model_disk import ModelDiskPage
from lmstudio_app.gui.widgets.panes import fill_with_panes
from lmstudio_app.models.starter_pack import download_size, missing_starters

PAGES = ("choose", "hub", "disk")


class ModelPages(QWidget):
    """The page of the hub and that of the disk are made when they are first shown."""

    load_requested = Signal(str)
    disk_changed = Signal()

    def __init__(self, services: Services, chooser: QWidget, view: QWidget, parent: QWidget) -> None:
        super().__init__(parent)
        self._services = services
        self._made: dict[str, QWidget] = {}
        self._looked = False
        self.bar = QTabBar(self)
        self.bar.setDrawBase(False)
        self.bar.setExpanding(False)
        self.bar.setAccessibleName(self.tr("Pages of models"))
        for title, tip in self._titles():
            self.bar.setTabToolTip(self.bar.addTab(title), tip)
        self.starter_button = QPushButton(self)
        self.starter_button.clicked.connect(lambda: services.downloads.add_starters())
        choose = QWidget(self)
        self.splitter = fill_with_panes(choose, chooser, view)
        choose.layout().setContentsMargins(0, 0, 0, 0)
        self._stack = QStackedWidget(self)
        self._stack.addWidget(choose)
        self._made["choose"] = choose
        for _ in PAGES[1:]:
            self._stack.addWidget(QWidget(self))
        head = QHBoxLayout()
        head.addWidget(self.bar, 1)
        head.addWidget(self.starter_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.5))
        layout.addLayout(head)
        layout.addWidget(self._stack, 1)
        outside = QVBoxLayout(parent)
        margin = theme.em(self, 0.7)
        outside.setContentsMargins(margin, margin // 2, margin, margin // 2)
        outside.addWidget(self)
        downloads = services.downloads
        for signal in (downloads.added, downloads.changed, downloads.removed):
            signal.connect(self._on_downloads_changed)
        self.bar.currentChanged.connect(self._on_changed)
        name = services.settings.get("model.page", "choose")
        if name in PAGES:
            self.go_to(name)

    def _titles(self) -> list[tuple[str, str]]:
        return [
            (self.tr("Choose and load"), self.tr("The models you have, and the starter models")),
            (self.tr("Find on the hub"), self.tr("Search the Hugging Face hub for models")),
            (self.tr("On this disk"), self.tr("What models take up, downloads that were begun, and deleting")),
        ]

    @property
    def current(self) -> str:
        return PAGES[self.bar.currentIndex()]

    def go_to(self, name: str) -> None:
        self.bar.setCurrentIndex(PAGES.index(name))

    def page(self, name: str) -> QWidget:
        """The page of that name, made now if it was not yet."""
        if name not in self._made:
            made: QWidget = self._make_hub() if name == "hub" else self._make_disk()
            index = PAGES.index(name)
            left = self._stack.widget(index)
            self._stack.removeWidget(left)
            left.deleteLater()
            self._stack.insertWidget(index, made)
            self._made[name] = made
        return self._made[name]

    def _make_hub(self) -> HubPage:
        page = HubPage(self._services, self)
        page.load_requested.connect(self.load_requested)
        return page

    def _make_disk(self) -> ModelDiskPage:
        page = ModelDiskPage(self._services, self)
        page.load_requested.connect(self.load_requested)
        page.changed.connect(self.disk_changed)
        page.token_requested.connect(lambda: self.page("hub").ask_token())
        return page

    def shutdown(self) -> None:
        for name in PAGES[1:]:
            if name in self._made:
                self._made[name].shutdown()

    def refresh(self) -> None:
        """Which starter models are missing may have changed."""
        missing = missing_starters()
        download = self._services.downloads.find(STARTER_PACK)
        is_coming = download is not None and download.state != DONE
        self.starter_button.setVisible(bool(missing) or is_coming)
        self.starter_button.setEnabled(not (download is not None and download.is_going_on))
        size = format_bytes(sum(map(download_size, missing)))
        text = self.tr("Get the starter models ({size})").format(size=size)
        tip = self.tr("Download all small models that the pages of this application begin with: {names}").format(
            names=", ".join(entry.title for entry in missing)
        )
        self.starter_button.setText(text)
        self.starter_button.setAccessibleName(text)
        self.starter_button.setToolTip(tip)

    def _on_changed(self, index: int) -> None:
        self.page(PAGES[index])
        self._stack.setCurrentIndex(index)
        self._services.settings.set("model.page", PAGES[index])

    def _on_downloads_changed(self, reference: str) -> None:
        count = sum(download.state != DONE for download in self._services.downloads.downloads)
        index = PAGES.index("disk")
        title = self._titles()[index][0]
        text = self.tr("{title} (downloads: {count})").format(title=title, count=count) if count else title
        if text != self.bar.tabText(index):
            self.bar.setTabText(index, text)
        if reference == STARTER_PACK:
            self.refresh()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if not self._looked:  # what an earlier window has begun
            self._looked = True
            self._services.downloads.offer_begun()
