"""The order in which the keyboard comes through a page: what is built late gets the place where it is seen."""

from __future__ import annotations

from collections.abc import Iterable

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QWidget


def stop_before(widget: QWidget) -> QWidget:
    """The last widget before this one that the Tab key stops at; ``widget`` itself when there is none."""
    before = widget.previousInFocusChain()
    while before is not widget and not before.focusPolicy() & Qt.FocusPolicy.TabFocus:
        before = before.previousInFocusChain()
    return before


def insert_stops(widgets: Iterable[QWidget], before: QWidget) -> None:
    """Let the Tab key come to ``widgets``, in this order, before it comes to ``before``."""
    stop = stop_before(before)
    for widget in widgets:
        QWidget.setTabOrder(stop, widget)
        stop = widget
