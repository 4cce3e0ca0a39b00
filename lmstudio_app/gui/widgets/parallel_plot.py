"""The trials of a sweep as lines over parallel axes: one axis a key that was varied, the last one the metric."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QMouseEvent, QPainter, QPainterPath, QPaintEvent, QPalette, QPen
from PySide6.QtWidgets import QFrame, QToolTip, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.field_editors import translate
from lmstudio_app.gui.metrics import metric_text, metric_title
from lmstudio_app.gui.recipe_fields import field_title
from lmstudio_app.gui.run_texts import drawn_text, value_text
from lmstudio_app.training.sweep_config import Range

if TYPE_CHECKING:
    from lmstudio_app.training.sweeps import SweepResult, TrialResult

_BEST, _WORST = 0, 1  # of the palette's categorical colours: a blue and an orange, told apart by everyone
_TICKS = 5
_MOST_MARKS = 8
_MANY_DECADES = 20.0  # a list of numbers that spans more than this factor is drawn logarithmically


@dataclass(frozen=True)
class Axis:
    """``values`` are all that a choice may be; numbers go from ``low`` to ``high``, perhaps logarithmically."""

    title: str
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    values: tuple[Any, ...] = ()
    marks: tuple[float, ...] = ()  # numbers that were listed, to be marked instead of even ones

    def place(self, value: Any) -> float | None:
        """0 (bottom) to 1 (top); None for what is not on this axis."""
        if self.values:
            if value not in self.values:
                return None
            return self.values.index(value) / (len(self.values) - 1) if len(self.values) > 1 else 0.5
        if value is None or not math.isfinite(value) or (self.log and value <= 0):
            return None
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return (value - low) / (high - low) if high > low else 0.5

    def ticks(self) -> list[tuple[float, str]]:
        """Places and texts of the marks beside it."""
        if self.values:
            return [(self.place(value) or 0.0, value_text(value)) for value in self.values]
        if 0 < len(self.marks) <= _MOST_MARKS:
            return [(self.place(mark) or 0.0, value_text(mark)) for mark in self.marks]
        places = [0.5] if self.high <= self.low else [number / (_TICKS - 1) for number in range(_TICKS)]
        texts = []
        for place in places:
            if self.log:
                value = math.exp(math.log(self.low) + place * (math.log(self.high) - math.log(self.low)))
            else:
                value = self.low + place * (self.high - self.low)
            texts.append((place, f"{value:.3g}"))
        return texts


def build_axes(result: SweepResult) -> list[Axis]:
    axes = []
    for key, dimension in result.config.space.items():
        title = translate(field_title(key))
        if isinstance(dimension, Range):
            axes.append(Axis(title, dimension.low, dimension.high, dimension.log))
        elif len(dimension) > 1 and all(isinstance(v, int | float) and not isinstance(v, bool) for v in dimension):
            low, high = min(dimension), max(dimension)
            axes.append(Axis(title, low, high, log=low > 0 and high / low > _MANY_DECADES, marks=tuple(dimension)))
        else:
            axes.append(Axis(title, values=tuple(dict.fromkeys(dimension))))
    values = [trial.value for trial in result.trials if trial.value is not None and math.isfinite(trial.value)]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    axes.append(Axis(metric_title(result.metric), low, high))
    return axes


class ParallelPlot(QFrame):
    """Drag along an axis to see only the trials there; click the axis to see all again. A click opens a trial's run."""

    trial_chosen = Signal(int)  # number
    brushed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self.setMouseTracking(True)
        self.setAccessibleName(self.tr("Trials of the sweep over parallel axes"))
        self.setAccessibleDescription(self.tr("The table below holds the same values"))
        self.setMinimumHeight(theme.em(self, 10))
        self.axes: list[Axis] = []
        self.brushes: dict[int, tuple[float, float]] = {}
        self._trials: list[TrialResult] = []
        self._greater = True
        self._selected = -1
        self.hovered = -1  # number of the trial under the mouse
        self._drag: tuple[int, float] | None = None

    def sizeHint(self) -> QSize:
        return QSize(theme.characters(self, 80), theme.em(self, 18))

    # --- what it shows

    def set_result(self, result: SweepResult | None) -> None:
        axes = build_axes(result) if result is not None else []
        if [axis.title for axis in axes] != [axis.title for axis in self.axes]:
            self.brushes.clear()
        self.axes = axes
        self._trials = list(result.trials) if result is not None else []
        self._greater = result.greater_is_better if result is not None else True
        self.hovered = -1
        self.update()

    def select(self, number: int) -> None:
        """Draw this trial boldly."""
        if number != self._selected:
            self._selected = number
            self.update()

    def highlighted(self) -> list[int]:
        """Numbers of the trials that are within every brush."""
        return [trial.number for trial in self._trials if self._is_within(trial)]

    def _places(self, trial: TrialResult) -> list[float | None]:
        values = [*trial.values.values(), trial.value]
        return [axis.place(value) for axis, value in zip(self.axes, values, strict=False)]

    def _is_within(self, trial: TrialResult) -> bool:
        places = self._places(trial)
        for number, (low, high) in self.brushes.items():
            place = places[number]
            if place is None or not low <= place <= high:
                return False
        return True

    # --- geometry

    def _area(self) -> QRectF:
        line = QFontMetricsF(self.font()).height()
        side = theme.characters(self, 12)
        return QRectF(self.rect()).adjusted(side, line * 2.2, -side, -line * 1.1)

    def axis_x(self, number: int) -> float:
        area = self._area()
        return area.left() + area.width() * number / max(1, len(self.axes) - 1)

    def place_y(self, place: float) -> float:
        area = self._area()
        return area.bottom() - area.height() * place

    def _place_at(self, y: float) -> float:
        area = self._area()
        return min(1.0, max(0.0, (area.bottom() - y) / area.height()))

    def _points(self, trial: TrialResult) -> list[QPointF]:
        return [
            QPointF(self.axis_x(number), self.place_y(place))
            for number, place in enumerate(self._places(trial))
            if place is not None
        ]

    def _axis_at(self, position: QPointF) -> int | None:
        near = [
            number for number in range(len(self.axes)) if abs(self.axis_x(number) - position.x()) < theme.em(self, 0.5)
        ]
        inside = self._area().adjusted(0, -theme.em(self, 0.4), 0, theme.em(self, 0.4))
        return near[0] if near and inside.top() <= position.y() <= inside.bottom() else None

    def trial_at(self, position: QPointF) -> int:
        """The number of the trial whose line is under ``position``; -1: none is."""
        nearest, best = -1, float(theme.em(self, 0.4))
        for trial in self._trials:
            if self.brushes and not self._is_within(trial):
                continue
            points = self._points(trial)
            for start, end in itertools.pairwise(points):
                distance = _distance(position, start, end)
                if distance < best:
                    nearest, best = trial.number, distance
        return nearest

    # --- the mouse

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton:
            axis = self._axis_at(event.position())
            if axis is not None:
                self._drag = (axis, self._place_at(event.position().y()))
            elif (number := self.trial_at(event.position())) >= 0:
                self.trial_chosen.emit(number)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if self._drag is not None:
            axis, start = self._drag
            end = self._place_at(event.position().y())
            self.brushes[axis] = (min(start, end), max(start, end))
            self.update()
            return
        number = self.trial_at(event.position())
        on_axis = self._axis_at(event.position()) is not None
        self.setCursor(
            Qt.CursorShape.SizeVerCursor
            if on_axis
            else Qt.CursorShape.PointingHandCursor
            if number >= 0
            else Qt.CursorShape.ArrowCursor
        )
        if number != self.hovered:
            self.hovered = number
            self.update()
            QToolTip.showText(event.globalPosition().toPoint(), self.trial_text(number) if number >= 0 else "", self)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if self._drag is not None:
            axis, start = self._drag
            self._drag = None
            if abs(self.place_y(self._place_at(event.position().y())) - self.place_y(start)) < theme.em(self, 0.25):
                self.brushes.pop(axis, None)
            self.update()
            self.brushed.emit()

    def leaveEvent(self, event: QEvent) -> None:
        super().leaveEvent(event)
        self.hovered = -1
        self.update()

    def trial_text(self, number: int) -> str:
        """What is said of a trial at the cursor."""
        trial = next(trial for trial in self._trials if trial.number == number)
        value = self.tr("no result") if trial.value is None else metric_text(trial.value)
        lines = [self.tr("Trial {number}").format(number=number + 1)]
        lines += [
            self.tr("{title}: {value}").format(title=axis.title, value=drawn_text(value))
            for axis, value in zip(self.axes, trial.values.values(), strict=False)
        ]
        lines.append(self.tr("{title}: {value}").format(title=self.axes[-1].title, value=value))
        return "\n".join(lines)

    # --- painting

    def colour(self, trial: TrialResult) -> QColor:
        """From the worst to the best value; without a value it is grey."""
        colours = theme.chart_colours(self.palette())
        place = self.axes[-1].place(trial.value) if self.axes else None
        if place is None:
            return theme.muted(self.palette())
        share = place if self._greater else 1 - place
        return theme.blend(colours.series[_BEST], colours.series[_WORST], share)

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if not self.axes:
            painter.setPen(theme.muted(self.palette()))
            painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter, self.tr("Choose a sweep to see its trials"))
            return
        shown = set(self.highlighted())
        order = sorted(self._trials, key=lambda t: (t.number in shown, t.number in (self._selected, self.hovered)))
        for trial in order:
            self._paint_line(painter, trial, faded=bool(self.brushes) and trial.number not in shown)
        for number, axis in enumerate(self.axes):
            self._paint_axis(painter, number, axis)

    def _paint_line(self, painter: QPainter, trial: TrialResult, *, faded: bool) -> None:
        points = self._points(trial)
        if not points:
            return
        colour = self.colour(trial)
        background = self.palette().color(QPalette.ColorRole.Base)
        is_bold = trial.number in (self._selected, self.hovered)
        pen = QPen(theme.blend(colour, background, 0.22) if faded else colour, theme.em(self, 0.22 if is_bold else 0.1))
        if trial.value is None:
            pen.setStyle(Qt.PenStyle.DashLine)
        painter.setPen(pen)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        path = QPainterPath(points[0])
        for point in points[1:]:
            path.lineTo(point)
        painter.drawPath(path)
        painter.setBrush(pen.color())
        painter.setPen(Qt.PenStyle.NoPen)
        radius = theme.em(self, 0.18 if is_bold else 0.12)
        for point in points:
            painter.drawEllipse(point, radius, radius)

    def _paint_axis(self, painter: QPainter, number: int, axis: Axis) -> None:
        palette, area, x = self.palette(), self._area(), self.axis_x(number)
        background = palette.color(QPalette.ColorRole.Base)
        painter.setPen(QPen(palette.color(QPalette.ColorRole.Dark), 1.5))
        painter.drawLine(QPointF(x, area.top()), QPointF(x, area.bottom()))
        if number in self.brushes:
            low, high = self.brushes[number]
            width = theme.em(self, 0.55)
            accent = palette.color(QPalette.ColorRole.Accent)
            painter.setPen(QPen(accent, 1.5))
            tint = QColor(accent)
            tint.setAlphaF(0.25)
            painter.setBrush(tint)
            painter.drawRect(QRectF(x - width / 2, self.place_y(high), width, self.place_y(low) - self.place_y(high)))
            painter.setBrush(Qt.BrushStyle.NoBrush)
        font = QFont(self.font())
        font.setWeight(QFont.Weight.DemiBold)
        painter.setFont(font)
        painter.setPen(palette.color(QPalette.ColorRole.WindowText))
        metrics = QFontMetricsF(font)
        room = min(area.width() / max(1, len(self.axes) - 1), theme.characters(self, 24))
        last = number == len(self.axes) - 1
        title = self.tr("{key} (log)").format(key=axis.title) if axis.log else axis.title
        title = metrics.elidedText(title, Qt.TextElideMode.ElideRight, room)
        left = min(max(x - room / 2, theme.em(self, 0.3)), self.width() - room - theme.em(self, 0.3))
        box = QRectF(left, area.top() - metrics.height() * 1.8, room, metrics.height())
        painter.drawText(box, Qt.AlignmentFlag.AlignCenter, title)
        font = QFont(self.font())
        font.setPointSizeF(font.pointSizeF() * 0.88)
        painter.setFont(font)
        metrics = QFontMetricsF(font)
        gap = theme.em(self, 0.4)
        for place, text in axis.ticks():
            shown = metrics.elidedText(text, Qt.TextElideMode.ElideRight, theme.characters(self, 11))
            width = metrics.horizontalAdvance(shown)
            corner = x + gap if last or number > 0 else x - gap - width
            spot = QRectF(corner, self.place_y(place) - metrics.height() / 2, width + 1, metrics.height())
            painter.setPen(Qt.PenStyle.NoPen)
            ground = QColor(background)
            ground.setAlphaF(0.75)  # so that lines behind do not hide the number
            painter.setBrush(ground)
            painter.drawRect(spot)
            painter.setPen(theme.muted(palette))
            painter.drawText(spot, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, shown)
            painter.setPen(QPen(palette.color(QPalette.ColorRole.Dark), 1.5))
            painter.drawLine(QPointF(x - gap / 4, self.place_y(place)), QPointF(x + gap / 4, self.place_y(place)))


def _distance(point: QPointF, start: QPointF, end: QPointF) -> float:
    """From a point to a line segment, in pixels."""
    line = end - start
    length = line.x() ** 2 + line.y() ** 2
    share = QPointF.dotProduct(point - start, line) / length if length else 0.0
    nearest = start + line * min(1.0, max(0.0, share))
    return math.hypot(point.x() - nearest.x(), point.y() - nearest.y())
