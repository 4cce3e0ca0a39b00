"""What models take up on this disk: how much, since when unused, where; and how they are taken off it."""

from __future__ import annotations

from PySide6.QtCore import QDateTime, Qt, Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from lmstudio_app.errors import UserError
from lmstudio_app.files import format_bytes
from lmstudio_app.gui import dialogs, theme
from lmstudio_app.gui.hub_queries import Disk, LocalRow, read_disk
from lmstudio_app.gui.job_runner import JobHandle
from lmstudio_app.gui.services import Services
from lmstudio_app.gui.text import error_texts
from lmstudio_app.gui.widgets.buttons import make_button
from lmstudio_app.gui.widgets.hub_downloads import DownloadsPanel
from lmstudio_app.gui.widgets.notice import Notice
from lmstudio_app.gui.widgets.scaled_label import Heading, Hint
from lmstudio_app.gui.widgets.tree_rows import RoomyRows
from lmstudio_app.models.local_models import DeleteRequest, delete_local

_ROW = Qt.ItemDataRole.UserRole
_KEY = Qt.ItemDataRole.UserRole + 1


class _Item(QTreeWidgetItem):
    """Sorts by what stands behind the words of a column."""

    def __lt__(self, other: QTreeWidgetItem) -> bool:
        column = self.treeWidget().sortColumn()
        return bool(self.data(column, _KEY) < other.data(column, _KEY))


class ModelDiskPage(QWidget):
    """``changed``: something was deleted."""

    changed = Signal()
    load_requested = Signal(str)
    token_requested = Signal()

    def __init__(self, services: Services, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._services = services
        self._query: JobHandle | None = None
        self._disk: Disk | None = None
        self._build()
        self._services.downloads.succeeded.connect(self._refresh_if_shown)
        self._services.downloads.discarded.connect(self._refresh_if_shown)

    def _build(self) -> None:
        self.total = Heading("", self, scale=1.1)
        self.detail = Hint("", self)
        self.notice = Notice(self)
        self.downloads = DownloadsPanel(self._services.downloads, self)
        self.downloads.load_requested.connect(self.load_requested)
        self.downloads.token_requested.connect(self.token_requested)
        self.tree = QTreeWidget(self)
        self.tree.setHeaderLabels(
            [self.tr("Model"), self.tr("What it is"), self.tr("Size"), self.tr("Last used"), self.tr("Where")]
        )
        self.tree.setRootIsDecorated(False)
        self.tree.setUniformRowHeights(True)
        self.tree.setItemDelegate(RoomyRows(self.tree))
        self.tree.setAlternatingRowColors(True)
        self.tree.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.tree.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.tree.setAccessibleName(self.tr("Models on this disk"))
        self.tree.setToolTip(self.tr("Everything that models take up here; a click on a heading sorts by it"))
        header = self.tree.header()
        header.setStretchLastSection(True)
        for column, width in enumerate((40, 24, 12, 20)):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.Interactive)
            header.resizeSection(column, theme.characters(self, width))
        header.setSortIndicator(2, Qt.SortOrder.DescendingOrder)  # what takes up most is what one looks for
        self.tree.itemSelectionChanged.connect(self._update_buttons)
        self.tree.itemActivated.connect(lambda *_: self._on_load())
        self.load_button = make_button(self.tr("Load"), self.tr("Read the model into memory"), self, self._on_load)
        self.folder_button = make_button(
            self.tr("Open its folder"), self.tr("Show its files in the system's file manager"), self, self._on_folder
        )
        self.delete_button = make_button(
            self.tr("Delete…"), self.tr("Move it to the trash; it can be downloaded again"), self, self._on_delete
        )
        buttons = QHBoxLayout()
        for button in (self.load_button, self.folder_button, self.delete_button):
            buttons.addWidget(button)
        buttons.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.5))
        layout.addWidget(self.total)
        layout.addWidget(self.detail)
        layout.addWidget(self.downloads)
        layout.addWidget(self.tree, 1)
        layout.addWidget(self.notice)
        layout.addLayout(buttons)
        self._update_buttons()

    # --- what is there

    @property
    def row(self) -> LocalRow | None:
        """The row that is selected."""
        items = self.tree.selectedItems()
        return items[0].data(0, _ROW) if items else None

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.refresh()

    def _refresh_if_shown(self) -> None:
        if self.isVisible():
            self.refresh()

    def refresh(self) -> None:
        """Look at the disk again; folders are added up, so not in the window's thread."""
        self._query = handle = self._services.query_runner.start(read_disk, None, quiet=True)
        handle.succeeded.connect(lambda disk: self._on_disk(handle, disk))

    def shutdown(self) -> None:
        if self._query is not None:
            self._query.cancel()
            self._query = None

    def _on_disk(self, handle: JobHandle, disk: Disk) -> None:
        if handle is not self._query:
            return
        self._query, self._disk = None, disk
        chosen = self.row.item.folder if self.row is not None else None
        self.tree.setSortingEnabled(False)
        self.tree.clear()
        for row in disk.rows:
            item = self._item(row)
            self.tree.addTopLevelItem(item)
            item.setSelected(row.item.folder == chosen)
        self.tree.setSortingEnabled(True)
        self._show_total(disk)
        self._update_buttons()

    def _item(self, row: LocalRow) -> _Item:
        local = row.item
        kind = self.tr("Model") if local.kind == "model" else self.tr("Conversion of a file")
        if not row.deletable:
            kind = self.tr("Comes with the application")
        used = self.tr("never")
        if local.used:
            moment = QDateTime.fromSecsSinceEpoch(round(local.used))
            used = moment.toString("yyyy-MM-dd HH:mm")
        item = _Item([local.title, kind, format_bytes(local.size), used, str(local.folder)])
        for column, key in enumerate((local.title.lower(), kind, local.size, local.used, str(local.folder))):
            item.setData(column, _KEY, key)
        item.setData(0, _ROW, row)
        item.setToolTip(0, local.reference)
        item.setToolTip(4, str(local.folder))
        item.setTextAlignment(2, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        return item

    def _show_total(self, disk: Disk) -> None:
        models = sum(row.item.size for row in disk.rows if row.item.kind == "model" and row.deletable)
        made = sum(row.item.size for row in disk.rows if row.item.kind == "conversion")
        total = models + made + disk.downloads
        self.total.setText(
            self.tr("Models take up {size} on this disk").format(size=format_bytes(total))
            if total
            else self.tr("No model is on this disk yet")
        )
        self.detail.setText(
            self.tr(
                "Models: {models}. Conversions of files elsewhere, made again when needed: {made}. Begun downloads: "
                "{downloads}."
            ).format(models=format_bytes(models), made=format_bytes(made), downloads=format_bytes(disk.downloads))
        )

    def _update_buttons(self) -> None:
        row = self.row
        self.load_button.setEnabled(row is not None and row.item.kind == "model")
        self.folder_button.setEnabled(row is not None)
        self.delete_button.setEnabled(row is not None and row.deletable)

    # --- what can be done

    def _on_load(self) -> None:
        if self.row is not None and self.row.item.kind == "model":
            self.load_requested.emit(self.row.item.reference)

    def _on_folder(self) -> None:
        if self.row is not None:
            dialogs.open_path(self.row.item.folder)

    def _on_delete(self) -> None:
        row = self.row
        if row is None:
            return
        is_model = row.item.kind == "model"
        sentences = [
            self.tr("{size} in {folder}.").format(size=format_bytes(row.item.size), folder=row.item.folder),
            self.tr("It goes to the trash.") if is_model else self.tr("It is made again when it is needed."),
        ]
        if row.needed_by:
            sentences.append(
                self.tr("These need it, and cannot be loaded without it: {names}.").format(
                    names=", ".join(row.needed_by)
                )
            )
        self.question = dialogs.ask(
            self,
            title=self.tr("Delete a model") if is_model else self.tr("Delete a conversion"),
            question=self.tr("Delete {name}?").format(name=row.item.title),
            explanation="\n\n".join(sentences),
            yes=self.tr("Move to the trash") if is_model else self.tr("Delete"),
            no=self.tr("Keep it"),
            on_yes=lambda: self._delete(row, for_good=False),
        )

    def _delete(self, row: LocalRow, *, for_good: bool) -> None:
        self.notice.set_text("")
        request = DeleteRequest(str(row.item.folder), for_good=for_good)
        title = self.tr("Deleting {name}").format(name=row.item.title)
        handle = self._services.query_runner.start(delete_local, request, title=title, quiet=True)
        handle.succeeded.connect(self._on_deleted)
        handle.failed.connect(lambda error: self._on_not_deleted(row, error))

    def _on_deleted(self, freed: int) -> None:
        self.notice.set_text("")
        self.changed.emit()
        self.refresh()

    def _on_not_deleted(self, row: LocalRow, error: UserError) -> None:
        """A disk without a trash leaves only deleting for good, which is asked for by itself."""
        message, remedy = error_texts(error)
        if "for-good" not in error.remedy_template:
            self.notice.set_text(f"{message} {remedy}")
            return
        self.question = dialogs.ask(
            self,
            title=self.tr("Delete for good"),
            question=self.tr("Delete {name} for good?").format(name=row.item.title),
            explanation=message,
            yes=self.tr("Delete for good"),
            no=self.tr("Keep it"),
            on_yes=lambda: self._delete(row, for_good=True),
        )
