"""What is in a knowledge base: its files with their passages and problems; files are added, updated and removed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QRect, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QBrush, QFont, QKeyEvent, QResizeEvent
from PySide6.QtWidgets import QFileDialog, QHBoxLayout, QHeaderView, QTreeWidget, QTreeWidgetItem, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.text import error_texts, number_text
from lmstudio_app.gui.widgets.buttons import make_button
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.notice import Notice
from lmstudio_app.gui.widgets.scaled_label import FontScale, Hint
from lmstudio_app.settings import Settings

if TYPE_CHECKING:
    from lmstudio_app.gui.kb_queries import Contents
    from lmstudio_app.knowledge.store import Note, StoredFile

MOST = 1000  # files of one folder that are listed, those with problems first
_SOURCE, _PROBLEM = Qt.ItemDataRole.UserRole, Qt.ItemDataRole.UserRole + 1


class FilesPanel(QWidget):
    """``can_change``: the handbook's files are the app's own."""

    add_requested = Signal(object)  # list[Path]
    remove_requested = Signal(object)  # list[Path], sources
    update_requested = Signal()
    rebuild_requested = Signal()  # with the starter encoder
    encoder_requested = Signal()  # bring the starter models here

    def __init__(self, settings: Settings, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._settings = settings
        self._contents: Contents | None = None
        self._can_change = False
        self._is_building = False
        self.dialog: QFileDialog | None = None
        self._build()

    def _build(self) -> None:
        self.title = ElidedLabel(self)
        FontScale(self.title, 1.1, QFont.Weight.DemiBold)
        self.add_button = make_button(
            self.tr("Add files…"), self.tr("Choose files to put into this knowledge base"), self
        )
        self.add_button.clicked.connect(lambda: self._open_dialog(folder=False))
        self.folder_button = make_button(
            self.tr("Add folder…"), self.tr("Put in all files of a folder and of the folders in it"), self
        )
        self.folder_button.clicked.connect(lambda: self._open_dialog(folder=True))
        self.update_button = make_button(
            self.tr("Update"), self.tr("Read again what has changed on the disk; the rest stays as it is"), self
        )
        self.update_button.clicked.connect(self.update_requested)
        self.remove_button = make_button(
            self.tr("Remove"), self.tr("Take the selected file or folder out of the knowledge base; it stays on disk"),
            self,
        )  # fmt: skip
        self.remove_button.clicked.connect(self._on_remove)
        self.notice = Notice(self)
        self.way_button = make_button("", "", self)
        self.way_button.clicked.connect(self._on_way)
        self._way = ""
        self.tree = QTreeWidget(self)
        self.tree.setHeaderLabels([self.tr("File"), self.tr("Passages")])
        self.tree.setAccessibleName(self.tr("Files of the knowledge base"))
        self.tree.setToolTip(
            self.tr("A passage is a stretch of some sentences; it is what is found, and what an answer is from")
        )
        self.tree.setAlternatingRowColors(True)
        self.tree.setWordWrap(True)
        self.tree.setIndentation(theme.em(self, 0.9))
        self.tree.setMinimumHeight(theme.em(self, 6))
        self.tree.header().setStretchLastSection(False)
        self.tree.header().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.tree.header().setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
        self.tree.itemSelectionChanged.connect(self._settle)
        self.summary = Hint("", self)
        adding = QHBoxLayout()
        adding.setSpacing(theme.em(self, 0.35))
        for button in (self.add_button, self.folder_button):
            adding.addWidget(button)
        adding.addStretch(1)
        changing = QHBoxLayout()
        changing.setSpacing(theme.em(self, 0.35))
        for button in (self.update_button, self.remove_button):
            changing.addWidget(button)
        changing.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.35))
        layout.addWidget(self.title)
        layout.addLayout(adding)
        layout.addWidget(self.notice)
        layout.addWidget(self.way_button, 0, Qt.AlignmentFlag.AlignLeft)
        layout.addWidget(self.tree, 1)
        layout.addWidget(self.summary)
        layout.addLayout(changing)
        self.way_button.hide()
        self._settle()

    # --- what others use

    @property
    def contents(self) -> Contents | None:
        return self._contents

    def show_contents(self, title: str, contents: Contents, *, can_change: bool) -> None:
        self.title.setText(title)
        self._can_change = can_change
        if contents != self._contents:
            self._contents = contents
            self._fill(contents)
        self._explain(contents)
        self._settle()

    def set_building(self, is_building: bool) -> None:
        if is_building != self._is_building:
            self._is_building = is_building
            if self._contents is not None:
                self._explain(self._contents)
            self._settle()

    # --- showing

    def _fill(self, contents: Contents) -> None:
        self.tree.clear()
        for source in contents.sources:
            is_folder = not any(file.path == str(source) for file in contents.files)
            within = [file for file in contents.files if _is_within(file.path, source)]
            item = QTreeWidgetItem(self.tree)
            item.setText(0, _unbroken(source.name or str(source)) if self._can_change else self.title.text())
            item.setToolTip(0, str(source))
            item.setData(0, _SOURCE, str(source))
            item.setText(1, number_text(sum(file.passages for file in within)))
            item.setTextAlignment(1, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            if not is_folder:
                self._add_notes(item, within[0].notes)
                item.setExpanded(True)
                continue
            shown = sorted(within, key=lambda file: not file.notes)[:MOST]
            for file in sorted(shown, key=lambda file: file.path):
                self._add_file(item, file, source)
            if len(within) > MOST:
                rest = QTreeWidgetItem(item)
                rest.setText(0, self.tr("… and {count} more").format(count=number_text(len(within) - MOST)))
            item.setExpanded(len(within) <= 50)
        self._colour()
        self._fit_notes()

    def _add_file(self, parent: QTreeWidgetItem, file: StoredFile, source: Path) -> None:
        item = QTreeWidgetItem(parent)
        item.setText(0, _unbroken(str(Path(file.path).relative_to(source))))
        item.setToolTip(0, file.path)
        item.setText(1, number_text(file.passages) if file.passages else "–")
        item.setTextAlignment(1, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self._add_notes(item, file.notes)
        item.setExpanded(any(note.is_problem for note in file.notes))

    def _add_notes(self, parent: QTreeWidgetItem, notes: Sequence[Note]) -> None:
        for note in notes:
            item = QTreeWidgetItem(parent)
            text = note_text(note)
            item.setText(0, text)
            item.setToolTip(0, text)
            item.setData(0, _PROBLEM, note.is_problem)
            item.setFirstColumnSpanned(True)
            item.setFlags(Qt.ItemFlag.ItemIsEnabled)

    def _colour(self) -> None:
        """Problems stand out; notes are quieter than files."""
        colours = {True: theme.danger(self.palette()), False: theme.muted(self.palette())}
        for item in self.tree.findItems("", Qt.MatchFlag.MatchContains | Qt.MatchFlag.MatchRecursive):
            is_problem = item.data(0, _PROBLEM)
            if is_problem is not None:
                item.setForeground(0, QBrush(colours[bool(is_problem)]))

    def _fit_notes(self) -> None:
        """Rows of sentences are as high as these need: a tree gives every row one line."""
        metrics = self.tree.fontMetrics()
        for item in self.tree.findItems("", Qt.MatchFlag.MatchContains | Qt.MatchFlag.MatchRecursive):
            if item.data(0, _PROBLEM) is not None:
                depth = 2 if item.parent().parent() is not None else 1
                width = self.tree.viewport().width() - (depth + 1) * self.tree.indentation() - theme.em(self, 0.5)
                room = QRect(0, 0, max(width, theme.characters(self, 12)), 100_000)
                height = metrics.boundingRect(room, Qt.TextFlag.TextWordWrap, item.text(0)).height()
                item.setSizeHint(0, QSize(0, height + theme.em(self, 0.2)))

    def _explain(self, contents: Contents) -> None:
        """What is amiss with the knowledge base as a whole, and the way out."""
        text, self._way, button, tip = "", "", "", ""
        if self._is_building:
            pass
        elif contents.error is not None:
            text = " ".join(part for part in error_texts(contents.error) if part)
        elif contents.lacks_encoder and not contents.files and not contents.sources:
            text = self.tr("Texts are compared by the starter encoder, which is not on this computer yet.")
            self._way, button = "encoder", self.tr("Get the starter models")
            tip = self.tr("Small models for every page; they are downloaded once")
        elif contents.lacks_encoder:
            text = self.tr(
                "It was built with {encoder}, which is no longer on this computer. Get it again, or build the "
                "knowledge base anew with the starter encoder."
            ).format(encoder=contents.encoder)
            self._way, button = "rebuild", self.tr("Build anew")
            tip = self.tr("Every passage gets a vector of the starter encoder")
        elif contents.waiting:
            text = self.tr(
                "{count} passages have no vector yet: the building was interrupted. They are found by their words only "
                "until it goes on where it stopped."
            ).format(count=number_text(contents.waiting))
            self._way, button, tip = "update", self.tr("Go on"), self.tr("Build what is still missing")
        self.notice.set_text(text)
        self.way_button.setVisible(bool(self._way))
        self.way_button.setText(button)
        self.way_button.setAccessibleName(button)
        self.way_button.setToolTip(tip)
        problems = sum(1 for file in contents.files if not file.passages)
        parts = [contents.encoder and self.tr("Compared by {encoder}.").format(encoder=contents.encoder)]
        if problems:
            one, several = self.tr("One file could not be read."), self.tr("{count} files could not be read.")
            parts.append((one if problems == 1 else several).format(count=number_text(problems)))
        if not contents.sources and self._can_change and not self._is_building:
            parts = [self.tr("Add files, or drop them here: text, Markdown, web pages, PDF, Word, CSV.")]
        self.summary.setText(" ".join(part for part in parts if part))
        self.summary.setVisible(bool(self.summary.text()))

    def _settle(self) -> None:
        can_change = self._can_change and not self._is_building
        is_sound = self._contents is not None and self._contents.error is None
        for button in (self.add_button, self.folder_button):
            button.setEnabled(can_change and is_sound)
        has_sources = self._contents is not None and bool(self._contents.sources)
        self.update_button.setEnabled(not self._is_building and has_sources and is_sound)
        self.remove_button.setEnabled(can_change and bool(self._selected()))
        self.way_button.setEnabled(not self._is_building)

    # --- asking

    def _selected(self) -> list[Path]:
        return [Path(item.data(0, _SOURCE)) for item in self.tree.selectedItems() if item.data(0, _SOURCE)]

    def _on_remove(self) -> None:
        if sources := self._selected():
            self.remove_requested.emit(sources)

    def _on_way(self) -> None:
        signals = {
            "encoder": self.encoder_requested, "rebuild": self.rebuild_requested, "update": self.update_requested
        }  # fmt: skip
        signals[self._way].emit()

    def _open_dialog(self, *, folder: bool) -> None:
        from lmstudio_app.knowledge.documents import PATTERNS

        start = str(self._settings.get("knowledge.folder", ""))
        self.dialog = dialog = QFileDialog(self, self.tr("Add to the knowledge base"), start)
        if folder:
            dialog.setFileMode(QFileDialog.FileMode.Directory)
        else:
            dialog.setFileMode(QFileDialog.FileMode.ExistingFiles)
            dialog.setNameFilter(self.tr("Documents ({patterns})").format(patterns=" ".join(PATTERNS)))
        dialog.filesSelected.connect(self._on_files)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _on_files(self, names: list[str]) -> None:
        paths = [Path(name) for name in names]
        if paths:
            self._settings.set("knowledge.folder", str(paths[0].parent))
            self.add_requested.emit(paths)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Delete and self.tree.hasFocus() and self.remove_button.isEnabled():
            self._on_remove()
            return
        super().keyPressEvent(event)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        QTimer.singleShot(0, self, self._fit_notes)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "tree"):
            QTimer.singleShot(0, self, self._colour)


def note_text(note: Note) -> str:
    """A sentence about a file, translated."""
    from lmstudio_app.errors import UserError

    parameters = dict(note.parameters)
    if "path" in parameters:  # it stands above the sentence
        parameters["path"] = Path(str(parameters["path"])).name
    return " ".join(text for text in error_texts(UserError(note.template, note.remedy, **parameters)) if text)


def _unbroken(name: str) -> str:
    """A name that is not wrapped to lines."""
    return name.replace("-", "\u2011").replace("/", "/\u2060").replace("\\", "\\\u2060").replace(" ", "\u00a0")


def _is_within(path: str, source: Path) -> bool:
    return path == str(source) or Path(path).is_relative_to(source)
