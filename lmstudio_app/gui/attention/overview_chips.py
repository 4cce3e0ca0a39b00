"""The patterns that the heads have, as buttons with their numbers: those that are down are shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from PySide6.QtCore import QEvent, QPoint, QRect, QSize, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QSizePolicy, QToolButton, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.attention.overview_texts import pattern_tips, pattern_titles
from lmstudio_app.gui.text import number_text


class PatternChips(QWidget):
    """As many in a line as there is room for."""

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName(self.tr("Patterns of heads that are shown"))
        policy = QSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        self.buttons: dict[str, QToolButton] = {}
        for name in pattern_titles():
            button = QToolButton(self)
            button.setCheckable(True)
            button.hide()
            button.toggled.connect(lambda: self.changed.emit())
            self.buttons[name] = button
        self._dress()

    def set_counts(self, counts: Mapping[str, int]) -> None:
        """How many heads have each pattern; those that none has are not offered."""
        titles, tips = pattern_titles(), pattern_tips()
        for name, button in self.buttons.items():
            count = counts.get(name, 0)
            button.setVisible(count > 0)
            button.setText(self.tr("{pattern} {count}").format(pattern=titles[name], count=number_text(count)))
            tip = self.tr("{explanation}. A click shows them, a second one all again.").format(
                explanation=tips[name].rstrip(".")
            )
            button.setToolTip(tip)
            button.setAccessibleName(button.text())
            button.setAccessibleDescription(tip)
        self._place()

    @property
    def chosen(self) -> frozenset[str]:
        return frozenset(name for name, button in self.buttons.items() if button.isChecked())

    def choose(self, names: frozenset[str]) -> None:
        """Without saying so."""
        for name, button in self.buttons.items():
            button.blockSignals(True)
            button.setChecked(name in names)
            button.blockSignals(False)

    # --- geometry

    def _rects(self, width: int) -> Iterator[tuple[QToolButton, QRect]]:
        gap = theme.em(self, 0.3)
        corner, height = QPoint(0, 0), 0
        for button in self.buttons.values():
            if button.isHidden():
                continue
            size = button.sizeHint()
            if corner.x() and corner.x() + size.width() > width:
                corner = QPoint(0, corner.y() + height + gap)
            yield button, QRect(corner, size)
            corner, height = QPoint(corner.x() + size.width() + gap, corner.y()), size.height()

    def _place(self) -> None:
        for button, rect in self._rects(self.width()):
            button.setGeometry(rect)
        self.updateGeometry()

    def heightForWidth(self, width: int) -> int:
        return max((rect.bottom() + 1 for _, rect in self._rects(width)), default=0)

    def sizeHint(self) -> QSize:
        width = max(self.width(), theme.characters(self, 20))
        return QSize(width, self.heightForWidth(width))

    def minimumSizeHint(self) -> QSize:
        return QSize(max((rect.width() for _, rect in self._rects(1)), default=0), 0)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._place()

    def _dress(self) -> None:
        pad = theme.em(self, 0.16)
        radius = theme.em(self, 0.75)
        self.setStyleSheet(
            f"QToolButton {{ background: palette(button); color: palette(button-text); border: 1px solid palette(mid);"
            f" border-radius: {radius}px; padding: {pad}px {4 * pad}px; }}"
            "QToolButton:hover:!checked { background: palette(midlight); }"
            "QToolButton:focus { border-color: palette(text); }"
            "QToolButton:checked { background: palette(highlight); color: palette(highlighted-text);"
            " border-color: palette(highlight); }"
            "QToolButton:checked:focus { border: 1px solid palette(text); }"
        )

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange and hasattr(self, "buttons"):
            self._dress()
            self._place()
