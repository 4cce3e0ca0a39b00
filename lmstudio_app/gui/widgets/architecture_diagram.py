"""A drawing of what happens to a text inside a model: tokens, embedding, layers, head."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QEvent, QLineF, QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QFont, QFontMetricsF, QHelpEvent, QPainter, QPaintEvent, QPalette, QPen, QPolygonF
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.text import number_text
from lmstudio_app.models.card import ModelCard

_WRAPPED = Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop | Qt.TextFlag.TextWordWrap


@dataclass(frozen=True)
class _Box:
    title: str
    detail: str
    tip: str
    repeated: bool = False  # one of the boxes inside the frame "N times"


class ArchitectureDiagram(QWidget):
    """Boxes from top to bottom, in the order in which a text passes them. Hover one for an explanation."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._boxes: tuple[_Box, ...] = ()
        self._repeat = ""
        self._rectangles: list[tuple[QRectF, str]] = []
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setAccessibleName(self.tr("How the model is built"))

    def set_card(self, card: ModelCard) -> None:
        self._boxes = self._describe(card)
        self._repeat = self.tr("{count} layers").format(count=number_text(card.layers)) if card.layers else ""
        self.setAccessibleDescription("; ".join(f"{box.title}: {box.detail}" for box in self._boxes))
        self.updateGeometry()
        self.update()

    def _describe(self, card: ModelCard) -> tuple[_Box, ...]:
        heads = self.tr("{heads} heads look at {size} numbers each").format(
            heads=number_text(card.heads), size=number_text(card.hidden_size // card.heads if card.heads else 0)
        )
        return (
            _Box(
                self.tr("Tokens"),
                self.tr("{count} known pieces of words").format(count=number_text(card.vocabulary)),
                self.tr("The tokenizer cuts a text into pieces of words. Each piece has a number in the vocabulary."),
            ),
            _Box(
                self.tr("Embedding"),
                self.tr("each token becomes {size} numbers").format(size=number_text(card.hidden_size)),
                self.tr("A table with one row of numbers (a vector) for every token. Training moves these numbers."),
            ),
            _Box(
                self.tr("Attention"),
                heads,
                self.tr(
                    "Every token gathers information from the other tokens. Each head learned its own way of looking; "
                    "the page Attention shows them."
                ),
                repeated=True,
            ),
            _Box(
                self.tr("Feed-forward"),
                self.tr("each token is worked on alone"),
                self.tr("A small neural network that transforms the vector of every token by itself."),
                repeated=True,
            ),
            self._head(card),
        )

    def _head(self, card: ModelCard) -> _Box:
        match card.head:
            case "sequence-classification":
                detail = self.tr("chooses among {count} labels").format(count=number_text(len(card.labels)))
                tip = self.tr("The last layer turns the text's vector into one score for each label: {labels}").format(
                    labels=", ".join(card.labels)
                )
            case "causal-lm" | "seq2seq-lm":
                detail = self.tr("guesses the next token")
                tip = self.tr("The last layer gives every token of the vocabulary a chance to come next.")
            case "masked-lm" | "pretraining":
                detail = self.tr("guesses hidden tokens")
                tip = self.tr("The last layer guesses tokens that were hidden from the model.")
            case "base":
                return _Box(
                    self.tr("Vectors"),
                    self.tr("{size} numbers a token, no head yet").format(size=number_text(card.hidden_size)),
                    self.tr(
                        "This model ends with vectors. A training for a task puts a new, untrained head on top of them."
                    ),
                )
            case _:
                detail = card.head
                tip = self.tr("The last layer, made for one task.")
        return _Box(self.tr("Head"), detail, tip)

    def _line(self) -> float:
        return QFontMetricsF(self.font()).height()

    def sizeHint(self) -> QSize:
        return QSize(theme.characters(self, 44), round(self._line() * 21))

    def minimumSizeHint(self) -> QSize:
        return QSize(theme.characters(self, 34), round(self._line() * 17.5))

    def paintEvent(self, event: QPaintEvent) -> None:
        self._rectangles = []
        if not self._boxes:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        line = self._line()
        frame_pad = line * 0.6
        frame_top = line * 1.2
        count = len(self._boxes)
        free = self.height() - 2 - frame_top - frame_pad
        height = min(free / (count + 0.22 * (count - 1)), line * 8)
        gap = min(max((free - count * height) / (count - 1), 0.22 * height), line * 4)
        width = min(self.width() - 2.0, theme.characters(self, 74))
        left = (self.width() - width) / 2
        inner_left, inner_width = left + frame_pad, width - 2 * frame_pad
        top = 1.0
        frame_start = 0.0
        previous: QRectF | None = None
        rectangles: list[QRectF] = []
        for number, box in enumerate(self._boxes):
            first_repeated = box.repeated and not self._boxes[number - 1].repeated
            if first_repeated:
                frame_start = top
                top += frame_top
            rectangle = QRectF(inner_left, top, inner_width, height)
            rectangles.append(rectangle)
            top += height + gap
            if box.repeated and not self._boxes[number + 1].repeated:
                top += frame_pad - gap
                self._paint_frame(painter, QRectF(left, frame_start, width, top - frame_start), line)
                top += gap
        explained = all(
            sum(height for _, _, height in self._texts(box, rectangle, explained=True))
            <= rectangle.height() - line * 0.4
            for box, rectangle in zip(self._boxes, rectangles, strict=True)
        )
        for box, rectangle in zip(self._boxes, rectangles, strict=True):
            if previous is not None:
                self._paint_arrow(painter, previous, rectangle, line)
            self._paint_box(painter, box, rectangle, line, explained=explained)
            self._rectangles.append((rectangle, box.tip))
            previous = rectangle

    def _paint_frame(self, painter: QPainter, frame: QRectF, line: float) -> None:
        palette = self.palette()
        accent = palette.color(QPalette.ColorRole.Highlight)
        painter.setBrush(theme.blend(accent, palette.color(QPalette.ColorRole.Base), 0.06))
        painter.setPen(QPen(theme.blend(accent, palette.color(QPalette.ColorRole.Base), 0.5), 1, Qt.PenStyle.DashLine))
        painter.drawRoundedRect(frame, line * 0.4, line * 0.4)
        painter.setFont(theme.heading_font(self, 0.92))
        painter.setPen(palette.color(QPalette.ColorRole.Link))
        area = QRectF(frame.left() + line * 0.6, frame.top() + line * 0.12, frame.width() - line * 1.2, line * 1.1)
        painter.drawText(area, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, self._repeat)

    def _small_font(self) -> QFont:
        small = QFont(self.font())
        small.setPointSizeF(small.pointSizeF() * 0.88)
        return small

    def _texts(self, box: _Box, area: QRectF, *, explained: bool) -> list[tuple[str, QFont, float]]:
        """The texts in a box from top to bottom: text, font and height in pixels at the box's width."""
        title = QFont(self.font())
        title.setWeight(QFont.Weight.DemiBold)
        small = self._small_font()
        parts = [(box.title, title), (box.detail, QFont(self.font()) if explained else small)]
        if explained:
            parts.append((box.tip, small))
        room = QRectF(0, 0, area.width() - self._line(), 1e4)
        return [
            (text, font, QFontMetricsF(font).boundingRect(room, int(_WRAPPED), text).height()) for text, font in parts
        ]

    def _paint_box(self, painter: QPainter, box: _Box, area: QRectF, line: float, *, explained: bool) -> None:
        palette = self.palette()
        painter.setBrush(palette.color(QPalette.ColorRole.AlternateBase))
        painter.setPen(palette.color(QPalette.ColorRole.Mid))
        painter.drawRoundedRect(area, line * 0.3, line * 0.3)
        texts = self._texts(box, area, explained=explained)
        top = area.center().y() - sum(height for _, _, height in texts) / 2
        for number, (text, font, height) in enumerate(texts):
            is_last = number == len(texts) - 1
            painter.setFont(font)
            painter.setPen(theme.muted(palette) if is_last else palette.color(QPalette.ColorRole.Text))
            painter.drawText(QRectF(area.left() + line / 2, top, area.width() - line, height), int(_WRAPPED), text)
            top += height

    def _paint_arrow(self, painter: QPainter, above: QRectF, below: QRectF, line: float) -> None:
        colour = self.palette().color(QPalette.ColorRole.Dark)
        x, tip = above.center().x(), below.top() - 1
        size = line * 0.22
        painter.setPen(QPen(colour, 1.4))
        painter.drawLine(QLineF(x, above.bottom() + 1, x, tip - size))
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(colour)
        painter.drawPolygon(
            QPolygonF([QPointF(x - size, tip - size * 1.5), QPointF(x + size, tip - size * 1.5), QPointF(x, tip)])
        )

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            position = QPointF(event.pos())
            tip = next((tip for rectangle, tip in self._rectangles if rectangle.contains(position)), "")
            if tip:
                QToolTip.showText(event.globalPos(), tip, self)
            else:
                QToolTip.hideText()
            return True
        return super().event(event)
