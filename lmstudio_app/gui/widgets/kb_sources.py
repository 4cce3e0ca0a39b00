"""The passages that an answer is from, as cards to click, and a probability as a bar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import QRectF, QSize, Qt, Signal
from PySide6.QtGui import QFont, QPainter, QPaintEvent, QPalette, QPen
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.kb_texts import likelihood_text, percent_text, place_text, preview_text
from lmstudio_app.gui.widgets.scaled_label import FontScale, Hint

if TYPE_CHECKING:
    from lmstudio_app.knowledge.answers import Source

_PREVIEW = 220  # characters


class ProbabilityBar(QWidget):
    """A probability as a bar, from nothing to certain."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._value = 0.0
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(self.tr("Probability"))

    @property
    def value(self) -> float:
        return self._value

    def set_value(self, value: float, tip: str) -> None:
        self._value = value
        self.setToolTip(tip)
        self.setAccessibleDescription(percent_text(value))
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(theme.characters(self, 14), theme.em(self, 0.55))

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        palette = self.palette()
        track = QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5)
        radius = track.height() / 2
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(palette.color(QPalette.ColorRole.Midlight))
        painter.drawRoundedRect(track, radius, radius)
        if self._value > 0.005:
            track.setWidth(max(track.height(), track.width() * self._value))
            painter.setBrush(palette.color(QPalette.ColorRole.Highlight))
            painter.drawRoundedRect(track, radius, radius)


class SourceCard(QPushButton):
    """One passage: its number, where it stands, how likely it holds the answer, and how it begins."""

    def __init__(self, number: int, source: Source, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.source = source
        where = ElidedLabel(self, mode=Qt.TextElideMode.ElideMiddle)
        FontScale(where, weight=QFont.Weight.DemiBold)
        where.setText(self.tr("[{number}] {place}").format(number=number, place=place_text(source)))
        words = Hint(
            self.tr("{percent}, {word}").format(
                percent=percent_text(source.probability), word=likelihood_text(source.probability)
            ),
            self,
        )
        words.setWordWrap(False)
        words.setMinimumWidth(theme.characters(words, 27))  # so that the bars stand below each other
        bar = ProbabilityBar(self)
        tip = self.tr("The probability that this passage holds the answer")
        bar.set_value(source.probability, tip)
        words.setToolTip(tip)
        preview = QLabel(preview_text(source, _PREVIEW), self)
        preview.setWordWrap(True)
        preview.setTextFormat(Qt.TextFormat.PlainText)
        preview.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        top = QHBoxLayout()
        top.setSpacing(theme.em(self, 0.5))
        top.addWidget(where, 1)
        top.addWidget(bar, 0, Qt.AlignmentFlag.AlignVCenter)
        top.addWidget(words)
        layout = QVBoxLayout(self)
        pad = theme.em(self, 0.5)
        layout.setContentsMargins(pad, pad, pad, pad)
        layout.setSpacing(theme.em(self, 0.2))
        layout.addLayout(top)
        layout.addWidget(preview)
        for label in (where, preview):
            label.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        policy = QSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setAccessibleName(where.text())
        self.setAccessibleDescription(preview.text())
        self.setToolTip(self.tr("Show this passage in its file: {file}").format(file=source.file))

    def hasHeightForWidth(self) -> bool:
        return True

    def heightForWidth(self, width: int) -> int:
        return self.layout().totalHeightForWidth(width)

    def sizeHint(self) -> QSize:
        return self.layout().totalSizeHint()

    def minimumSizeHint(self) -> QSize:
        return QSize(theme.characters(self, 20), self.layout().totalMinimumSize().height())

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        palette = self.palette()
        accent, base = palette.color(QPalette.ColorRole.Accent), palette.color(QPalette.ColorRole.Base)
        radius = theme.em(self, 0.35)
        is_marked = self.hasFocus() or self.underMouse()
        painter.setPen(QPen(accent if is_marked else palette.color(QPalette.ColorRole.Mid), 1))
        painter.setBrush(theme.blend(accent, base, 0.08) if self.underMouse() else palette.alternateBase())
        painter.drawRoundedRect(QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5), radius, radius)


class SourceCards(QWidget):
    """A card for each passage, in the order of their numbers."""

    chosen = Signal(object)  # Source

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.cards: list[SourceCard] = []
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(theme.em(self, 0.35))

    def set_sources(self, sources: Sequence[Source]) -> None:
        if [card.source for card in self.cards] == list(sources):
            return
        for card in self.cards:
            self._column.removeWidget(card)
            card.hide()
            card.deleteLater()
        self.cards = []
        for number, source in enumerate(sources, 1):
            card = SourceCard(number, source, self)
            card.clicked.connect(lambda _=False, source=source: self.chosen.emit(source))
            self._column.addWidget(card)
            self.cards.append(card)
