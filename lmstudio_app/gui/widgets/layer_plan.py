"""Which parts of the model a training changes, and from when on: one bar a part, the input at the bottom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import QCoreApplication, QEvent, QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QFont, QFontMetricsF, QHelpEvent, QPainter, QPaintEvent, QPalette, QPen
from PySide6.QtWidgets import QSizePolicy, QToolTip, QVBoxLayout, QWidget

from lmstudio_app.errors import UserError
from lmstudio_app.gui import theme
from lmstudio_app.gui.text import compact_number_text, error_texts, number_text
from lmstudio_app.gui.widgets.scaled_label import Hint

if TYPE_CHECKING:
    from lmstudio_app.training.plan import LayerPlan, PlannedGroup

ROW, SMALLEST_ROW = 1.32, 0.42  # heights of a bar's row in text lines
NAMED_ROW = 1.0  # from this height on a row has room for its name
TALLEST = 17  # lines that all the rows together may take
TRAINS, LATER, UNREACHED, FROZEN, ADAPTED = "trains", "later", "unreached", "frozen", "adapted"


@dataclass(frozen=True)
class PlanRow:
    """``count`` parameters of which ``trained`` ever train; ``state`` is one of the five above; ``when``: from then on.

    An unreached part would train after the end of the training.
    In an adapted part its own weights stay and ``adapter`` new ones train.
    """

    title: str
    count: int
    trained: int
    state: str
    when: str = ""
    adapter: int = 0
    rate: float = 1.0  # of the learning rate


class LayerBars(QWidget):
    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._rows: tuple[PlanRow, ...] = ()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(self.tr("What trains, from the output to the input"))

    @property
    def rows(self) -> tuple[PlanRow, ...]:
        """From the top, which is the output, to the bottom."""
        return self._rows

    def set_rows(self, rows: Sequence[PlanRow]) -> None:
        is_resized = len(rows) != len(self._rows)
        self._rows = tuple(rows)
        self.setAccessibleDescription("; ".join(self._sentence(row) for row in self._rows))
        if is_resized:
            self.updateGeometry()
        self.update()

    def _sentence(self, row: PlanRow) -> str:
        count = number_text(row.count)
        if row.state in (TRAINS, LATER):
            sentence = self.tr("{part}: {count} parameters, trains {when}")
            sentence = sentence.format(part=row.title, count=count, when=row.when or self.tr("from the start"))
            return (
                sentence
                if row.rate == 1
                else self.tr("{sentence}, at {rate} of the learning rate").format(
                    sentence=sentence, rate=f"{row.rate:.3g}"
                )
            )
        if row.state == UNREACHED:
            sentence = self.tr("{part}: {count} parameters, stays as it is: its turn would be {when}, after the end")
            return sentence.format(part=row.title, count=count, when=row.when)
        if row.state == ADAPTED:
            sentence = self.tr("{part}: {count} parameters stay as they are, an adapter of {adapter} trains")
            return sentence.format(part=row.title, count=count, adapter=number_text(row.adapter))
        return self.tr("{part}: {count} parameters, stays as it is").format(part=row.title, count=count)

    def _row_height(self) -> float:
        line = QFontMetricsF(self.font()).height()
        return min(ROW, max(SMALLEST_ROW, TALLEST / max(len(self._rows), 1))) * line

    def sizeHint(self) -> QSize:
        return QSize(theme.characters(self, 36), round(self._row_height() * len(self._rows)) + 1)

    def minimumSizeHint(self) -> QSize:
        return QSize(theme.characters(self, 24), self.sizeHint().height())

    def paintEvent(self, event: QPaintEvent) -> None:
        if not self._rows:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        palette, height = self.palette(), self._row_height()
        small = QFont(self.font())
        small.setPointSizeF(small.pointSizeF() * 0.88)
        painter.setFont(small)
        metrics = QFontMetricsF(small)
        is_named = height >= metrics.height() * NAMED_ROW
        gap = metrics.averageCharWidth()
        names = max(metrics.horizontalAdvance(row.title) for row in self._rows) + gap if is_named else 0.0
        names = min(names, self.width() * 0.4)
        counts = max(metrics.horizontalAdvance(self._count_text(row)) for row in self._rows) + gap if is_named else 0.0
        room = max(self.width() - names - counts, 10.0)
        largest = max(max(row.count for row in self._rows), 1)
        enabled = palette.color(QPalette.ColorRole.Text) if self.isEnabled() else theme.muted(palette)
        for number, row in enumerate(self._rows):
            top = number * height
            bar = QRectF(names, top + height * 0.14, max(room * row.count / largest, 3.0), height * 0.72)
            self._draw_bar(painter, bar, row)
            if is_named:
                painter.setPen(enabled)
                left = QRectF(0, top, names - gap / 2, height)
                title = metrics.elidedText(row.title, Qt.TextElideMode.ElideRight, left.width())
                painter.drawText(left, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, title)
                painter.setPen(theme.muted(palette))
                right = QRectF(bar.right() + gap / 2, top, self.width() - bar.right() - gap / 2, height)
                painter.drawText(
                    right, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, self._count_text(row)
                )

    def _count_text(self, row: PlanRow) -> str:
        count = compact_number_text(row.count)
        if row.state in (LATER, UNREACHED):
            return self.tr("{count}  {when}").format(count=count, when=row.when)
        if row.state == ADAPTED:
            return self.tr("{count} + {adapter}").format(count=count, adapter=compact_number_text(row.adapter))
        return count

    def _draw_bar(self, painter: QPainter, bar: QRectF, row: PlanRow) -> None:
        """Colour and form both tell the state: full, a tint with an outline, an outline, a dashed one, an edge."""
        palette = self.palette()
        colours = theme.chart_colours(palette)
        trains, rests = colours.series[0], palette.color(QPalette.ColorRole.Midlight)
        radius = min(bar.height() / 4, theme.em(self, 0.2))
        outline = QPen(palette.color(QPalette.ColorRole.Dark), 1)
        if row.state == TRAINS:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(trains)
        elif row.state == LATER:
            painter.setPen(QPen(trains, 1.4))
            painter.setBrush(theme.blend(trains, colours.background, 0.3))
        else:
            outline.setStyle(Qt.PenStyle.DashLine if row.state == UNREACHED else Qt.PenStyle.SolidLine)
            painter.setPen(outline)
            painter.setBrush(rests)
        painter.drawRoundedRect(bar, radius, radius)
        if row.state == ADAPTED:  # thin matrices beside the weights
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(colours.series[1])
            edge = max(bar.height() * 0.28, 2.0)
            painter.drawRoundedRect(QRectF(bar.left(), bar.bottom() - edge, bar.width(), edge), radius / 2, radius / 2)

    def event(self, event: QEvent) -> bool:
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            number = int(QPointF(event.pos()).y() // self._row_height())
            if 0 <= number < len(self._rows):
                QToolTip.showText(event.globalPos(), self._sentence(self._rows[number]), self)
            else:
                QToolTip.hideText()
            return True
        return super().event(event)


class LayerPlanView(QWidget):
    """The bars, and above them in words how much trains."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._sum = Hint("", self)
        self._sum.setForegroundRole(QPalette.ColorRole.Text)
        self._legend = Hint("", self)
        self.bars = LayerBars(self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, theme.em(self, 0.6))
        layout.setSpacing(theme.em(self, 0.25))
        layout.addWidget(self._sum)
        layout.addWidget(self.bars)
        layout.addWidget(self._legend)
        self.show_nothing()

    @property
    def text(self) -> str:
        """How much trains, in words."""
        return self._sum.text()

    def show_nothing(self, *, has_model: bool = False) -> None:
        """There is no model yet, or (``has_model``) none that fits, which is said elsewhere."""
        self._show((), "" if has_model else self.tr("Load a model to see which of its parts will train."), "")

    def show_problem(self, problem: UserError) -> None:
        self._show((), " ".join(error_texts(problem)), "")

    def show_plan(self, plan: LayerPlan, epochs: float) -> None:
        """What a training of so many epochs changes."""
        rows = [self._row(planned, plan.unfreeze_every, epochs) for planned in reversed(plan.groups)]
        trained = sum(row.trained + row.adapter for row in rows)
        total = plan.parameters + sum(row.adapter for row in rows)
        text = self.tr("Trains {trained} of {total} parameters ({share} %)").format(
            trained=compact_number_text(trained),
            total=compact_number_text(total),
            share=f"{100 * trained / max(total, 1):.3g}",
        )
        self._show(rows, text, self._legend_text({row.state for row in rows}))
        self._sum.setToolTip(
            self.tr("{trained} of {total}").format(trained=number_text(trained), total=number_text(total))
        )

    def _row(self, part: PlannedGroup, every: int, epochs: float) -> PlanRow:
        group = part.group
        title = QCoreApplication.translate("layers", group.template).format(number=group.number)
        if part.adapter:
            return PlanRow(title, group.count, part.trained, ADAPTED, adapter=part.adapter)
        if part.stage is None:
            return PlanRow(title, group.count, 0, FROZEN)
        if part.stage == 0:
            return PlanRow(title, group.count, part.trained, TRAINS, rate=part.rate)
        if not every and part.stage >= epochs:  # with a number of steps it depends on the data
            return PlanRow(title, group.count, 0, UNREACHED, self.tr("epoch {number}").format(number=part.stage + 1))
        when = (
            self.tr("from step {number}").format(number=number_text(part.stage * every + 1))
            if every
            else self.tr("from epoch {number}").format(number=part.stage + 1)
        )
        return PlanRow(title, group.count, part.trained, LATER, when, rate=part.rate)

    def _show(self, rows: Sequence[PlanRow], text: str, legend: str) -> None:
        self.bars.set_rows(rows)
        self.bars.setVisible(bool(rows))
        self._sum.setText(text)
        self._sum.setVisible(bool(text))
        self._sum.setToolTip("")
        self._legend.setText(legend)
        self._legend.setVisible(bool(legend))

    def _legend_text(self, states: set[str]) -> str:
        words = {
            TRAINS: self.tr("Full: trains from the start"),
            LATER: self.tr("light: trains later"),
            UNREACHED: self.tr("dashed: its turn would come after the last epoch"),
            FROZEN: self.tr("grey: stays as it is"),
            ADAPTED: self.tr("grey with an edge: stays, an adapter beside it trains"),
        }
        if len(states) < 2 and ADAPTED not in states:
            return ""
        return self.tr("{states}. The output is at the top.").format(
            states="; ".join(words[state] for state in (TRAINS, LATER, UNREACHED, ADAPTED, FROZEN) if state in states)
        )
