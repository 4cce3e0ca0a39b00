"""A reply token by token: each tinted by how sure the model was, and what else it might have written."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import QEvent, QPoint, QRectF, Qt, QTimer, Signal
from PySide6.QtGui import (
    QColor,
    QFocusEvent,
    QHideEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPalette,
    QTextCharFormat,
    QTextCursor,
)
from PySide6.QtWidgets import QFrame, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.text_places import make_mark, utf16_units
from lmstudio_app.gui.try_texts import token_label
from lmstudio_app.gui.widgets.chat_reading import Reading
from lmstudio_app.gui.widgets.scaled_label import Hint
from lmstudio_app.gui.widgets.try_candidates import CandidateList, share_text

_STAYS = 250  # milliseconds that the candidates stay when the pointer has left


def tint(probability: float, palette: QPalette) -> QColor:
    """Nothing where the model was sure, the colour of a warning where it was not; text stays readable on it."""
    return theme.blend(theme.warning(palette), palette.base().color(), 0.48 * (1.0 - probability) ** 1.3)


class CandidatePopup(QFrame):
    """What the model might have written instead of a token, with its probabilities."""

    chosen = Signal(int)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self.title = Hint("", self)
        self.title.setTextFormat(Qt.TextFormat.PlainText)
        self.list = CandidateList(
            self.tr("What else might stand here"),
            self.tr("Click a token to have the reply written on from it, in a branch of its own (␣ is a space)"),
            self,
        )
        self.list.chosen.connect(self.chosen)
        layout = QVBoxLayout(self)
        pad = theme.em(self, 0.4)
        layout.setContentsMargins(pad, pad, pad, pad)
        layout.setSpacing(pad // 2)
        layout.addWidget(self.title)
        layout.addWidget(self.list)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_STAYS)
        self._timer.timeout.connect(self._on_left)
        self.hide()

    def show_piece(self, piece: Any, below: QPoint, above: QPoint) -> None:
        """``below`` and ``above`` are places of the parent where it may stand."""
        self._timer.stop()
        self.title.setText(
            self.tr("“{token}” had {share}").format(token=token_label(piece.text), share=share_text(piece.probability))
        )
        self.list.set_candidates(piece.candidates, token_label)
        row = next((n for n, item in enumerate(piece.candidates) if item.token == piece.text), -1)
        self.list.set_chosen(row)
        rows = max(1, self.list.count()) * max(self.list.sizeHintForRow(0), theme.em(self, 1.75))
        self.list.setFixedHeight(rows + 2)
        self.setFixedWidth(theme.characters(self, 44))
        self.adjustSize()
        parent = self.parentWidget()
        assert parent is not None
        left = max(0, min(below.x(), parent.width() - self.width()))
        fits = below.y() + self.height() <= parent.height()
        self.move(left, below.y() if fits else max(0, above.y() - self.height()))
        self.show()
        self.raise_()

    def leave(self) -> None:
        """Go in a moment, unless the pointer or the keyboard comes in."""
        self._timer.start()

    def _on_left(self) -> None:
        if not self.underMouse() and not self.list.hasFocus():
            self.hide()

    def leaveEvent(self, event: QEvent) -> None:
        self.leave()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        radius = theme.em(self, 0.35)
        painter.setPen(self.palette().dark().color())
        painter.setBrush(self.palette().base())
        painter.drawRoundedRect(QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5), radius, radius)


class TokenText(Reading):
    """Text made of pieces (:class:`lmstudio_app.chat.engine.Piece`); it is only ever added to."""

    token_chosen = Signal(int, object)  # number of the piece, the candidate that is to stand in its place

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._pieces: list[Any] = []
        self._starts: list[int] = []
        self._current = -1
        self._popup: CandidatePopup | None = None
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.viewport().setMouseTracking(True)
        self.setAccessibleName(self.tr("The reply, token by token"))
        self.setToolTip("")
        self.viewport().setAccessibleDescription(
            self.tr("Left and Right go from token to token, Down into the list of what else might stand there")
        )

    def set_pieces(self, pieces: Sequence[Any]) -> None:
        known = len(self._pieces)
        if known > len(pieces) or (known and pieces[known - 1] is not self._pieces[known - 1]):
            self._clear()
            known = 0
        self._append(pieces[known:])

    def _clear(self) -> None:
        self._pieces, self._starts, self._current = [], [], -1
        self.document().clear()
        self.hide_candidates()

    def _append(self, pieces: Sequence[Any]) -> None:
        cursor = QTextCursor(self.document())
        cursor.movePosition(QTextCursor.MoveOperation.End)
        cursor.beginEditBlock()
        for piece in pieces:
            self._starts.append(cursor.position())
            self._pieces.append(piece)
            style = QTextCharFormat()
            style.setBackground(tint(piece.probability, self.palette()))
            cursor.insertText(piece.text, style)
        cursor.endEditBlock()

    def height_for(self, width: int) -> int:
        return self.height_at(width)

    # --- candidates

    @property
    def popup(self) -> CandidatePopup | None:
        return self._popup

    def piece_at(self, place: QPoint) -> int:
        """The number of the piece at this point of the viewport, or -1."""
        position = self.document().documentLayout().hitTest(place.toPointF(), Qt.HitTestAccuracy.ExactHit)
        if position < 0 or not self._starts:
            return -1
        index = bisect_right(self._starts, position) - 1
        while index > 0 and not self._pieces[index].text:
            index -= 1
        return index

    def show_candidates(self, index: int) -> None:
        if not 0 <= index < len(self._pieces) or not self._pieces[index].candidates:
            self.hide_candidates()
            return
        if self._popup is None:
            self._popup = CandidatePopup(self.window())
            self._popup.chosen.connect(self._on_chosen)
            self.destroyed.connect(self._popup.deleteLater)
        cursor = QTextCursor(self.document())
        cursor.setPosition(self._starts[index])
        place = self.cursorRect(cursor)
        to_window = self.viewport()
        self._current = index
        self._mark()
        self._popup.show_piece(
            self._pieces[index],
            to_window.mapTo(self.window(), place.bottomLeft() + QPoint(0, 2)),
            to_window.mapTo(self.window(), place.topLeft() - QPoint(0, 2)),
        )

    def hide_candidates(self) -> None:
        if self._popup is not None:
            self._popup.hide()

    def _mark(self) -> None:
        start = self._starts[self._current]
        end = start + utf16_units(self._pieces[self._current].text)
        style = QTextCharFormat()
        style.setFontUnderline(True)
        self.setExtraSelections([make_mark(self.document(), start, end, style)])

    def _on_chosen(self, row: int) -> None:
        if 0 <= self._current < len(self._pieces):
            candidate = self._pieces[self._current].candidates[row]
            self.hide_candidates()
            if candidate.token != self._pieces[self._current].text:
                self.token_chosen.emit(self._current, candidate)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        super().mouseMoveEvent(event)
        if event.buttons() == Qt.MouseButton.NoButton:
            index = self.piece_at(event.position().toPoint())
            if index < 0:
                self._leave()
            elif index != self._current or self._popup is None or self._popup.isHidden():
                self.show_candidates(index)

    def leaveEvent(self, event: QEvent) -> None:
        super().leaveEvent(event)
        self._leave()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        super().focusOutEvent(event)
        self._leave()

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self.hide_candidates()

    def _leave(self) -> None:
        if self._popup is not None and not self._popup.isHidden():
            self._popup.leave()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        key = event.key()
        if key in (Qt.Key.Key_Left, Qt.Key.Key_Right) and self._pieces:
            step = 1 if key == Qt.Key.Key_Right else -1
            self.show_candidates(max(0, min(len(self._pieces) - 1, self._current + step)))
        elif key == Qt.Key.Key_Down and self._popup is not None and not self._popup.isHidden():
            self._popup.list.setFocus()
            self._popup.list.setCurrentRow(0)
        elif key == Qt.Key.Key_Escape and self._popup is not None and not self._popup.isHidden():
            self.hide_candidates()
        else:
            super().keyPressEvent(event)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "_pieces"):
            QTimer.singleShot(0, self, self._recolour)

    def _recolour(self) -> None:
        pieces = list(self._pieces)
        self._clear()
        self._append(pieces)
