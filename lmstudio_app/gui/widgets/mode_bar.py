"""The bar with which every page switches between its ways of being used: one text, a whole file, and the like."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtWidgets import QStackedWidget, QTabBar, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.widgets.focus import insert_stops, stop_before


class ModeBar(QTabBar):
    """``items`` are (text, tip)."""

    def __init__(self, title: str, items: Sequence[tuple[str, str]], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName(title)
        self.setDrawBase(False)
        self.setExpanding(False)
        for text, tip in items:
            self.setTabToolTip(self.addTab(text), tip)


class TextOrFile(QWidget):
    """Two panes for the same thing: for one text that is typed, and for every row of a file."""

    def __init__(self, one: QWidget, many: QWidget, tips: tuple[str, str], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.bar = ModeBar(
            self.tr("One text, or a file"), ((self.tr("One text"), tips[0]), (self.tr("Whole file"), tips[1])), self
        )
        self._stack = QStackedWidget(self)
        self._stack.addWidget(one)
        self._stack.addWidget(many)
        self.bar.currentChanged.connect(self._stack.setCurrentIndex)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.3))
        layout.addWidget(self.bar)
        layout.addWidget(self._stack, 1)
        if stop_before(one) is not self.bar:
            insert_stops([self.bar], one)  # it is made after them, but stands above them

    def show_text(self) -> None:
        self.bar.setCurrentIndex(0)

    def show_file(self) -> None:
        self.bar.setCurrentIndex(1)
