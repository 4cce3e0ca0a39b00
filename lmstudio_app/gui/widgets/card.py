"""A framed part of a page."""

from __future__ import annotations

from PySide6.QtWidgets import QFrame, QVBoxLayout, QWidget

from lmstudio_app.gui import theme


def make_card(*widgets: QWidget, parent: QWidget | None = None) -> QFrame:
    """The widgets below each other; the first takes the room that is left."""
    card = QFrame(parent)
    card.setProperty("card", True)
    pad = theme.em(card, 0.7)
    layout = QVBoxLayout(card)
    layout.setContentsMargins(pad, pad, pad, pad)
    layout.setSpacing(theme.em(card, 0.5))
    for index, widget in enumerate(widgets):
        layout.addWidget(widget, int(index == 0))
    return card
