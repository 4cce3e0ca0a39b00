"""The rail at the window's left: the steps of the newcomer's path, what each of them has, and the way
there.
"""

from __future__ import annotations

from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import (
    QEnterEvent,
    QFocusEvent,
    QFont,
    QFontMetricsF,
    QKeyEvent,
    QPainter,
    QPaintEvent,
    QPalette,
    QPen,
)
from PySide6.QtWidgets import QAbstractButton, QButtonGroup, QFrame, QLabel, QSizePolicy, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.widgets.scaled_label import FontScale


class StepButton(QAbstractButton):
    """A sign (a tick once the step is done), a title, and below it what the step has or waits for.

    Where the window is low the line below the title gives way.
    """

    def __init__(self, sign: str, title: str, tip: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.sign = sign
        self._detail = ""
        self._done = False
        self._hovered = False
        self._by_keyboard = False
        self.setText(title)
        self.setCheckable(True)
        self._tip = tip
        self.setToolTip(tip)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Maximum)
        self.setAccessibleName(title)

    def set_state(self, detail: str, *, done: bool) -> None:
        if (detail, done) == (self._detail, self._done):
            return
        self._detail, self._done = detail, done
        self.setAccessibleDescription(detail)
        self.setToolTip(f"{self._tip}\n{detail}" if detail else self._tip)
        self.update()

    @property
    def detail(self) -> str:
        return self._detail

    @property
    def done(self) -> bool:
        return self._done

    def _detail_font(self) -> QFont:
        font = QFont(self.font())
        font.setPointSizeF(font.pointSizeF() * 0.88)
        return font

    def sizeHint(self) -> QSize:
        line = QFontMetricsF(self.font()).height()
        return QSize(theme.characters(self, 34), round(line * 3.2))

    def minimumSizeHint(self) -> QSize:
        line = QFontMetricsF(self.font()).height()
        return QSize(theme.characters(self, 34), round(line * 1.9))

    def enterEvent(self, event: QEnterEvent) -> None:
        self._hovered = True
        self.update()
        super().enterEvent(event)

    def leaveEvent(self, event: QEvent) -> None:
        self._hovered = False
        self.update()
        super().leaveEvent(event)

    def focusInEvent(self, event: QFocusEvent) -> None:
        """The ring is for those who move with the keyboard; to others it looks like a second selection."""
        reasons = (Qt.FocusReason.TabFocusReason, Qt.FocusReason.BacktabFocusReason, Qt.FocusReason.ShortcutFocusReason)
        self._by_keyboard = event.reason() in reasons
        super().focusInEvent(event)

    def paintEvent(self, event: QPaintEvent) -> None:
        palette = self.palette()
        metrics = QFontMetricsF(self.font())
        line = metrics.height()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        body = QRectF(self.rect()).adjusted(line * 0.4, line * 0.1, -line * 0.4, -line * 0.1)
        accent = palette.color(QPalette.ColorRole.Accent)
        window = palette.color(QPalette.ColorRole.Window)
        if self.isChecked() or self._hovered:
            tint = theme.blend(accent, window, 0.16 if self.isChecked() else 0.07)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(tint)
            painter.drawRoundedRect(body, line * 0.4, line * 0.4)
        if self.hasFocus() and self._by_keyboard:
            painter.setPen(QPen(accent, max(1.5, line * 0.1)))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRoundedRect(body.adjusted(1, 1, -1, -1), line * 0.4, line * 0.4)
        diameter = line * 1.5
        circle = QRectF(body.left() + line * 0.5, body.center().y() - diameter / 2, diameter, diameter)
        self._paint_circle(painter, circle, line)
        left = circle.right() + line * 0.6
        title_font = QFont(self.font())
        title_font.setWeight(QFont.Weight.DemiBold if self.isChecked() else QFont.Weight.Medium)
        painter.setFont(title_font)
        painter.setPen(palette.color(QPalette.ColorRole.WindowText))
        width = body.right() - line * 0.4 - left
        has_room = bool(self._detail) and body.height() >= line * 2.2
        top = body.center().y() - line * (1.05 if has_room else 0.5)
        title = QFontMetricsF(title_font).elidedText(self.text(), Qt.TextElideMode.ElideRight, width)
        painter.drawText(QRectF(left, top, width, line), Qt.AlignmentFlag.AlignVCenter, title)
        if has_room:
            painter.setFont(self._detail_font())
            painter.setPen(theme.muted(palette))
            detail = QFontMetricsF(painter.font()).elidedText(self._detail, Qt.TextElideMode.ElideRight, width)
            painter.drawText(QRectF(left, top + line * 1.05, width, line), Qt.AlignmentFlag.AlignVCenter, detail)

    def _paint_circle(self, painter: QPainter, circle: QRectF, line: float) -> None:
        palette = self.palette()
        accent = palette.color(QPalette.ColorRole.Highlight)
        if self._done or self.isChecked():
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(theme.success(palette) if self._done and not self.isChecked() else accent)
            ink = palette.color(QPalette.ColorRole.HighlightedText if self.isChecked() else QPalette.ColorRole.Window)
        else:
            painter.setPen(QPen(palette.color(QPalette.ColorRole.Dark), max(1.0, line * 0.08)))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            ink = theme.muted(palette)
        painter.drawEllipse(circle)
        if self._done:
            size = circle.width()
            painter.setPen(
                QPen(ink, size * 0.1, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap, Qt.PenJoinStyle.RoundJoin)
            )
            points = [(0.29, 0.53), (0.44, 0.67), (0.72, 0.36)]
            painter.drawPolyline([circle.topLeft() + QPointF(x * size, y * size) for x, y in points])
        else:
            painter.setFont(self._detail_font())
            painter.setPen(ink)
            painter.drawText(circle, Qt.AlignmentFlag.AlignCenter, self.sign)


class NavigationRail(QFrame):
    """The steps in groups, top to bottom. The arrow keys move between them, as in a tab bar."""

    current_changed = Signal(int)

    def __init__(self, steps: list[tuple[str, str, str, str]], parent: QWidget | None = None) -> None:
        """``steps`` are the titles of their groups, signs, titles and tooltips."""
        super().__init__(parent)
        self.setAccessibleName(self.tr("Steps"))
        self._group = QButtonGroup(self)
        self._group.setExclusive(True)
        self.buttons: list[StepButton] = []
        layout = QVBoxLayout(self)
        margin = theme.em(self, 0.4)
        layout.setContentsMargins(0, margin, 0, margin)
        layout.setSpacing(0)
        groups: list[str] = []
        for index, (group, sign, title, tip) in enumerate(steps):
            if group not in groups:
                groups.append(group)
                layout.addWidget(self._make_heading(group, is_first=index == 0))
            button = StepButton(sign, title, tip, self)
            self._group.addButton(button, index)
            self.buttons.append(button)
            layout.addWidget(button)
        layout.addStretch(1)
        self._group.idToggled.connect(self._on_toggled)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Expanding)

    def _make_heading(self, text: str, *, is_first: bool) -> QLabel:
        label = QLabel(text, self)
        label.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        FontScale(label, 0.88, QFont.Weight.DemiBold)
        pad = theme.em(self, 0.9)
        label.setContentsMargins(pad, 0 if is_first else theme.em(self, 0.4), pad, theme.em(self, 0.1))
        return label

    def current(self) -> int:
        return self._group.checkedId()

    def set_current(self, index: int) -> None:
        self.buttons[index].setChecked(True)

    def set_state(self, index: int, detail: str, *, done: bool) -> None:
        self.buttons[index].set_state(detail, done=done)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        step = {Qt.Key.Key_Up: -1, Qt.Key.Key_Down: 1}.get(Qt.Key(event.key()))
        if step is None:
            super().keyPressEvent(event)
            return
        index = min(max(self.current() + step, 0), len(self.buttons) - 1)
        self.set_current(index)
        self.buttons[index].setFocus(Qt.FocusReason.TabFocusReason)

    def _on_toggled(self, index: int, checked: bool) -> None:
        if checked:
            self.current_changed.emit(index)
