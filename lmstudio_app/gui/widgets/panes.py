"""Two panes beside each other, the way every page of the window has them."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QSplitter, QVBoxLayout, QWidget

from lmstudio_app.gui import theme


def fill_with_panes(page: QWidget, left: QWidget, right: QWidget) -> QSplitter:
    """Fill ``page`` with two panes and a handle between them; the right one takes the room that is left."""
    splitter = QSplitter(Qt.Orientation.Horizontal, page)
    splitter.addWidget(left)
    splitter.addWidget(right)
    splitter.setStretchFactor(1, 1)
    splitter.setChildrenCollapsible(False)
    splitter.setHandleWidth(theme.em(page, 0.6))
    margin = theme.em(page, 0.7)
    layout = QVBoxLayout(page)
    layout.setContentsMargins(margin, margin, margin, margin // 2)
    layout.addWidget(splitter)
    return splitter
