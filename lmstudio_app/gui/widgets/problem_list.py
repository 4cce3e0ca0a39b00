"""What is odd about the data: a line each, with buttons that mend it."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QCoreApplication, QEvent, QPointF, QRectF, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QPainter, QPaintEvent, QPen, QPolygonF, QResizeEvent
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from lmstudio_app.data.problems import Problem, fix_title
from lmstudio_app.gui import theme
from lmstudio_app.gui.widgets.focus import insert_stops

_VISIBLE = 3.4  # problems seen at once; the rest scrolls


class SeverityMark(QWidget):
    """A triangle (error, warning) or a disc (information): told by its shape as well as its colour."""

    def __init__(self, severity: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._severity = severity
        names = {
            "error": self.tr("Error"),
            "warning": self.tr("Warning"),
            "info": self.tr("Information"),
        }
        self.setAccessibleName(names[severity])
        self.setToolTip(names[severity])
        side = theme.em(self, 1.0)
        self.setFixedSize(QSize(side, side))

    def paintEvent(self, event: QPaintEvent) -> None:
        palette = self.palette()
        colours = {
            "error": theme.danger(palette),
            "warning": theme.warning(palette),
            "info": theme.muted(palette),
        }
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        colour = colours[self._severity]
        area = QRectF(self.rect()).adjusted(1.5, 1.5, -1.5, -1.5)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(colour)
        if self._severity == "info":
            painter.drawEllipse(area)
        else:
            corners = [area.bottomLeft(), area.bottomRight(), QPointF(area.center().x(), area.top())]
            painter.drawPolygon(QPolygonF(corners))
        pen = QPen(palette.base().color(), max(1.4, area.width() / 8))
        pen.setCapStyle(Qt.PenCapStyle.RoundCap)
        painter.setPen(pen)
        middle, height = area.center().x(), area.height()
        if self._severity == "info":
            painter.drawPoint(QPointF(middle, area.top() + height * 0.27))
            painter.drawLine(QPointF(middle, area.top() + height * 0.48), QPointF(middle, area.top() + height * 0.75))
        else:
            painter.drawLine(QPointF(middle, area.top() + height * 0.4), QPointF(middle, area.top() + height * 0.62))
            painter.drawPoint(QPointF(middle, area.top() + height * 0.82))


class ProblemRow(QWidget):
    fix_requested = Signal(str)
    line_requested = Signal(object)  # Problem

    def __init__(self, problem: Problem, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.problem = problem
        message = problem_text(problem)
        self.label = QLabel(message, self)
        self.label.setTextFormat(Qt.TextFormat.PlainText)
        self.label.setWordWrap(True)
        self.label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.label.setMinimumWidth(theme.characters(self, 20))
        self.label.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.MinimumExpanding)
        self.setAccessibleName(message)
        self.buttons: dict[str, QPushButton] = {}
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.5))
        layout.addWidget(SeverityMark(problem.severity, self), 0, Qt.AlignmentFlag.AlignVCenter)
        layout.addWidget(self.label, 1)
        for fix in problem.fixes[:2]:
            self._add_button(layout, fix, fix_text(fix), self.tr("Mend it: {fix}").format(fix=fix_text(fix)))
        if problem.row is not None:
            text = self.tr("Line {line}").format(line=problem.row)
            button = self._add_button(layout, "", text, self.tr("Show this place in the preview"))
            button.clicked.disconnect()
            button.clicked.connect(lambda: self.line_requested.emit(problem))

    @property
    def line(self) -> int:
        """Height of a row of one line, in pixels."""
        button = next(iter(self.buttons.values()), None)
        text = self.label.fontMetrics().height()
        return max(text, button.sizeHint().height()) if button is not None else text

    def height_at(self, width: int) -> int:
        """Height in pixels that the row needs at this width."""
        spacing = self.layout().spacing()
        taken = theme.em(self, 1.0) + spacing
        taken += sum(button.sizeHint().width() + spacing for button in self.buttons.values())
        return max(self.line, self.label.heightForWidth(max(width - taken, self.label.minimumWidth())))

    def _add_button(self, layout: QHBoxLayout, fix: str, text: str, tip: str) -> QPushButton:
        button = QPushButton(text, self)
        button.setToolTip(tip)
        button.setAccessibleName(text)
        button.setAccessibleDescription(tip)
        button.clicked.connect(lambda: self.fix_requested.emit(fix))
        self.buttons[fix] = button
        layout.addWidget(button, 0, Qt.AlignmentFlag.AlignVCenter)
        return button


class ProblemList(QFrame):
    """Takes no room while there are no problems, and at most that of a few."""

    fix_requested = Signal(str)
    line_requested = Signal(object)  # Problem

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self.setAccessibleName(self.tr("Problems of the data"))
        self.rows: list[ProblemRow] = []
        self._problems: tuple[Problem, ...] = ()
        self._area = QScrollArea(self)
        self._area.setWidgetResizable(True)
        self._area.setFrameShape(QFrame.Shape.NoFrame)
        self._area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._area.viewport().setAutoFillBackground(False)
        self._inside = QWidget()
        self._column = QVBoxLayout(self._inside)
        pad = theme.em(self, 0.35)
        self._column.setContentsMargins(pad * 2, pad, pad * 2, pad)
        self._column.setSpacing(pad)
        self._column.addStretch(1)
        self._area.setWidget(self._inside)
        self._inside.setAutoFillBackground(False)  # the card shows through
        layout = QVBoxLayout(self)
        layout.setContentsMargins(1, 1, 1, 1)
        layout.addWidget(self._area)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.hide()

    @property
    def problems(self) -> tuple[Problem, ...]:
        return self._problems

    def set_problems(self, problems: Sequence[Problem]) -> None:
        if tuple(problems) == self._problems:
            return
        self._problems = tuple(problems)
        for row in self.rows:
            self._column.removeWidget(row)
            row.hide()
            row.deleteLater()
        self.rows = [ProblemRow(problem, self._inside) for problem in problems]
        for position, row in enumerate(self.rows):
            self._column.insertWidget(position, row)
            row.fix_requested.connect(self.fix_requested)
            row.line_requested.connect(self.line_requested)
        insert_stops((button for row in self.rows for button in row.buttons.values()), before=self)
        self.setVisible(bool(problems))
        self._fit()

    def _fit(self) -> None:
        """As high as the problems are at this width, up to a few of them."""
        if not self.rows:
            return
        self.ensurePolished()  # the style sheet draws the border, and takes its room
        border, around = self.contentsRect(), self.layout().contentsMargins()
        margins = self._column.contentsMargins()
        spacing = self._column.spacing()
        width = border.width() - around.left() - around.right() - margins.left() - margins.right()
        heights = [row.height_at(width) for row in self.rows]
        whole = sum(heights) + spacing * (len(heights) - 1)
        if whole > (most := round(max(row.line for row in self.rows) * _VISIBLE)):
            bar = self._area.verticalScrollBar().sizeHint().width()
            heights = [row.height_at(width - bar) for row in self.rows]
            most = max(most, max(heights))
        for row, height in zip(self.rows, heights, strict=True):
            row.setFixedHeight(height)
        outside = self.height() - border.height() + around.top() + around.bottom()
        self.setFixedHeight(min(whole, most) + margins.top() + margins.bottom() + outside)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange) and hasattr(self, "_column"):
            QTimer.singleShot(0, self, self._fit)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            QTimer.singleShot(0, self, self._fit)  # a height set now would be undone by the layout


def problem_text(problem: Problem) -> str:
    """The sentence, translated."""
    return QCoreApplication.translate("problems", problem.template).format(**problem.parameters)


def fix_text(fix: str) -> str:
    """The words on a fix's button, translated."""
    template, parameters = fix_title(fix)
    names = {name: QCoreApplication.translate("problems", value) for name, value in parameters.items()}
    return QCoreApplication.translate("problems", template).format(**names)
