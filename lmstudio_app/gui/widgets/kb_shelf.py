"""The knowledge bases there are: choose one, make, rename or delete one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.text import error_texts, number_text
from lmstudio_app.gui.widgets.buttons import make_button
from lmstudio_app.gui.widgets.model_list import ModelList, ModelRow
from lmstudio_app.gui.widgets.notice import Notice
from lmstudio_app.gui.widgets.scaled_label import Heading

if TYPE_CHECKING:
    from lmstudio_app.errors import UserError
    from lmstudio_app.knowledge.shelf import ShelfEntry


class ShelfPanel(QWidget):
    """Emits what a person wants done; whoever owns it does it and tells the outcome."""

    chosen = Signal(object)  # ShelfEntry
    make_requested = Signal(str)  # a name
    rename_requested = Signal(str, str)  # name, new name
    delete_requested = Signal(object)  # ShelfEntry

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._entries: list[ShelfEntry] = []
        self._building: frozenset[Path] = frozenset()
        self._renamed = ""  # the name that is being changed; empty: a new one is being made
        self._build()

    def _build(self) -> None:
        heading = Heading(self.tr("Knowledge bases"), self, scale=1.1)
        self.new_button = make_button(
            self.tr("New…"), self.tr("Make a knowledge base of your own files, by a name that you give it"), self
        )
        self.new_button.clicked.connect(lambda: self._open_name(""))
        top = QHBoxLayout()
        top.addWidget(heading, 1)
        top.addWidget(self.new_button)
        self.name = _NameEdit(self)
        self.name.setMaxLength(60)
        self.name.setPlaceholderText(self.tr("A name for it"))
        self.name.setAccessibleName(self.tr("Name of the knowledge base"))
        self.name.setToolTip(self.tr("Enter keeps the name, Esc does not"))
        self.name.returnPressed.connect(self._on_name)
        self.name.given_up.connect(self._close_name)
        self.keep_button = make_button(self.tr("Make"), self.tr("Make it by this name"), self)
        self.keep_button.clicked.connect(self._on_name)
        self.naming = QWidget(self)
        row = QHBoxLayout(self.naming)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.name, 1)
        row.addWidget(self.keep_button)
        self.naming.hide()
        self.notice = Notice(self)
        self.list = ModelList(self)
        self.list.setAccessibleName(self.tr("Knowledge bases"))
        self.list.setToolTip(self.tr("The knowledge base that questions go to"))
        self.list.drop_hint = self.tr("Drop files or folders on this side of the page")
        self.list.setMinimumHeight(theme.em(self, 6.5))
        self.list.chosen.connect(self._on_chosen)
        self.list.removed.connect(lambda _: self._on_delete())
        self.rename_button = make_button(self.tr("Rename…"), self.tr("Give this knowledge base another name"), self)
        self.rename_button.clicked.connect(lambda: self._open_name(self.entry.name if self.entry else ""))
        self.delete_button = make_button(
            self.tr("Delete…"), self.tr("Move this knowledge base to the trash; your files stay"), self
        )
        self.delete_button.clicked.connect(self._on_delete)
        bottom = QHBoxLayout()
        bottom.addWidget(self.rename_button)
        bottom.addWidget(self.delete_button)
        bottom.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.35))
        layout.addLayout(top)
        layout.addWidget(self.naming)
        layout.addWidget(self.notice)
        layout.addWidget(self.list, 1)
        layout.addLayout(bottom)
        self._settle()

    # --- what others use

    @property
    def entry(self) -> ShelfEntry | None:
        """The one that is chosen."""
        return next((entry for entry in self._entries if str(entry.folder) == self.list.reference), None)

    @property
    def entries(self) -> list[ShelfEntry]:
        return list(self._entries)

    def set_entries(self, entries: Sequence[ShelfEntry]) -> None:
        self._entries = list(entries)
        self._show_rows()

    def set_building(self, folders: Collection[Path]) -> None:
        """Those that are being built now."""
        self._building = frozenset(folders)
        self._show_rows()

    def choose(self, folder: Path) -> bool:
        """False when there is none in this folder."""
        found = self.list.select(str(folder))
        self._settle()
        return found

    def ask_for_name(self, reason: str) -> None:
        """Have a new one made; ``reason`` says why."""
        self._open_name("")
        self.notice.set_text(reason)

    def forget_choice(self) -> None:
        """The next entries come with a choice of their own."""
        self.list.set_rows([])

    def show_problem(self, error: UserError) -> None:
        """Of the name that was given, or of what else was asked for."""
        self.notice.set_text(" ".join(text for text in error_texts(error) if text))

    def accept_name(self) -> None:
        """It is done: nothing is left to be typed."""
        self._close_name()

    # --- within

    def _show_rows(self) -> None:
        self.list.set_rows([self._row(entry) for entry in self._entries])
        self._settle()

    def _row(self, entry: ShelfEntry) -> ModelRow:
        title = self.tr("Handbook of language models") if entry.is_handbook else entry.name
        is_building = entry.folder in self._building
        state, word = "here", ""
        if is_building:
            state, word = "loaded", self.tr("building…")
        elif entry.error is not None:
            state, word = "missing", self.tr("damaged")
        elif entry.waiting:
            state, word = "away", self.tr("unfinished")
        if entry.error is not None:
            detail = error_texts(entry.error)[0]
        elif entry.is_empty:
            detail = self.tr("comes with the app") if entry.is_handbook else self.tr("nothing in it yet")
        else:
            detail = self.tr("passages: {passages}, files: {files}").format(
                passages=number_text(entry.passages), files=number_text(entry.files)
            )
        return ModelRow(title, str(entry.folder), detail, state, word, str(entry.folder))

    def _on_chosen(self, reference: str) -> None:
        self._settle()
        entry = self.entry
        if entry is not None:
            self.chosen.emit(entry)

    def _open_name(self, name: str) -> None:
        self._renamed = name
        self.name.setText(name)
        self.keep_button.setText(self.tr("Rename") if name else self.tr("Make"))
        self.keep_button.setToolTip(self.tr("Keep this name") if name else self.tr("Make it by this name"))
        self.keep_button.setAccessibleName(self.keep_button.text())
        self.notice.set_text("")
        self.naming.show()
        self.name.selectAll()
        self.name.setFocus()

    def _close_name(self) -> None:
        self.naming.hide()
        self.notice.set_text("")
        self.list.setFocus()

    def _on_name(self) -> None:
        self.notice.set_text("")
        if self._renamed:
            self.rename_requested.emit(self._renamed, self.name.text())
        else:
            self.make_requested.emit(self.name.text())

    def _on_delete(self) -> None:
        entry = self.entry
        if entry is not None and self.delete_button.isEnabled():
            self.delete_requested.emit(entry)

    def _settle(self) -> None:
        entry = self.entry
        is_own = entry is not None and not entry.is_handbook and entry.folder not in self._building
        self.rename_button.setEnabled(is_own)
        self.delete_button.setEnabled(is_own)


class _NameEdit(QLineEdit):
    given_up = Signal()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Escape:
            self.given_up.emit()
            return
        super().keyPressEvent(event)
