"""The view of all heads together: one map made of them, and how heads differ from layer to layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, Qt, QTimer
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import QHBoxLayout, QSplitter, QStackedWidget, QVBoxLayout, QWidget

from lmstudio_app.errors import UserError
from lmstudio_app.events import Event, Progress
from lmstudio_app.gui import theme
from lmstudio_app.gui.asker import Asker
from lmstudio_app.gui.attention.heatmap import Cell, Heatmap
from lmstudio_app.gui.attention.state_label import StateLabel
from lmstudio_app.gui.attention.studio import AttentionStudio
from lmstudio_app.gui.attention.together_charts import LayerChart
from lmstudio_app.gui.attention.together_controls import TogetherControls
from lmstudio_app.gui.attention.together_reading import Together, TogetherRequest, read_together
from lmstudio_app.gui.attention.together_texts import cell_text
from lmstudio_app.gui.splitters import keep_sizes
from lmstudio_app.gui.text import error_texts, number_text, progress_text
from lmstudio_app.gui.widgets.buttons import make_button
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.inspection.aggregates import AggregateRequest
from lmstudio_app.inspection.arrangement import Arrangement
from lmstudio_app.inspection.colormaps import colormap
from lmstudio_app.inspection.reading import Reading

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

PATIENCE = 200  # milliseconds for which the old map stays while a new one is made


class TogetherView(QWidget):
    """Reads while it is seen."""

    def __init__(self, studio: AttentionStudio, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._studio = studio
        self._is_stale = True
        self._shown_reading: Reading | None = None
        self.together: Together | None = None
        self._request: AggregateRequest | None = None
        self._labels: tuple[Sequence[str], Sequence[str]] | None = None  # of the map
        self.asker = Asker(studio.services.inspection_runner, self)
        self.asker.succeeded.connect(self._on_together)
        self.asker.failed.connect(self._on_failed)
        self.asker.stopped.connect(lambda: self._show_state(self.tr("Stopped."), self.again))
        self.asker.events.connect(self._on_events)
        self._patience = QTimer(self)
        self._patience.setSingleShot(True)
        self._patience.setInterval(PATIENCE)
        self._patience.timeout.connect(self._on_impatient)
        self.controls = TogetherControls(studio, self)
        self.controls.changed.connect(self._ask)
        self._build_map()
        self._build_charts()
        self._lay_out()
        studio.reading_changed.connect(self._refresh)
        studio.look_changed.connect(self._on_look_changed)
        studio.head_changed.connect(self._on_head_changed)
        studio.cell_changed.connect(self._on_cell_chosen)
        self._on_cell_changed(None)

    # --- building

    def _build_map(self) -> None:
        self.heatmap = Heatmap(self)
        self.heatmap.setAccessibleName(self.tr("All heads together"))
        self.heatmap.cell_changed.connect(self._on_cell_changed)
        self.heatmap.cell_kept.connect(self._on_cell_kept)
        self.readout = ElidedLabel(self)
        self.readout.setAccessibleName(self.tr("Value under the mouse"))
        self.state = StateLabel(self)
        self.stop = make_button(self.tr("Stop"), self.tr("Put nothing more together"), self, self.asker.stop)
        self.again = make_button(self.tr("Try again"), self.tr("Put the heads together"), self, self._ask)
        waiting = QWidget(self)
        column = QVBoxLayout(waiting)
        column.addStretch(1)
        column.addWidget(self.state)
        for button in (self.stop, self.again):
            column.addWidget(button, 0, Qt.AlignmentFlag.AlignHCenter)
        column.addStretch(1)
        self._stack = QStackedWidget(self)
        self._stack.addWidget(self.heatmap)
        self._stack.addWidget(waiting)

    def _build_charts(self) -> None:
        self.entropy = LayerChart(
            self.tr("Spread"),
            self.tr(
                "How widely each head looks (entropy): 0 bits is one token, each bit more is twice as many. A dot is a "
                "head, the line the mean of a layer. A click on a dot chooses its head; the arrow keys do, too."
            ),
            lambda value: self.tr("{value} bits").format(value=number_text(value, 2)),
            0,
            self,
        )
        self.distance = LayerChart(
            self.tr("Distance"),
            self.tr(
                "How many tokens away each head looks on average. A dot is a head, the line the mean of a layer. A "
                "click on a dot chooses its head; the arrow keys do, too."
            ),
            lambda value: self.tr("{value} tokens").format(value=number_text(value, 1)),
            1,
            self,
        )
        for chart in (self.entropy, self.distance):
            chart.head_chosen.connect(self._on_dot)

    def _lay_out(self) -> None:
        gap = theme.em(self, 0.4)
        above, charts = QWidget(self), QWidget(self)
        column = QVBoxLayout(above)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(gap)
        column.addWidget(self.readout)
        column.addWidget(self._stack, 1)
        row = QHBoxLayout(charts)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(2 * gap)
        row.addWidget(self.entropy, 1)
        row.addWidget(self.distance, 1)
        halves = QSplitter(Qt.Orientation.Vertical, self)
        halves.setChildrenCollapsible(False)
        halves.setHandleWidth(theme.em(self, 0.5))
        halves.addWidget(above)
        halves.addWidget(charts)
        halves.setStretchFactor(0, 1)  # the charts keep their height
        keep_sizes(halves, self._studio.services.settings, "attention.together.panes", (1000, theme.em(self, 12)))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(gap)
        layout.addWidget(self.controls)
        layout.addWidget(halves, 1)
        self.setFocusProxy(self.heatmap)

    # --- reading

    def _refresh(self) -> None:
        """Another text: now, or when the view is seen again."""
        self.controls.settle()
        self.asker.drop()
        self._patience.stop()
        self.together = self._request = None
        if not self.isVisible():
            self._is_stale = True
            return
        self._is_stale = False
        reading = self._shown_reading = self._studio.reading
        if reading is None:
            self._show_state("")
            return
        self.controls.set_reading(reading)
        table = reading.overview.statistics
        self.entropy.set_values([[head.entropy for head in heads] for heads in table], reading.layers)
        distances = [[head.distance for head in heads if head.distance is not None] for heads in table]
        self.distance.setVisible(all(distances))
        if all(distances):
            self.distance.set_values(distances, reading.layers)
        self._on_head_changed()
        self._ask()

    def _ask(self) -> None:
        reading = self._shown_reading
        if reading is None:
            return
        controls = self.controls
        controls.settle()
        self.together = None
        self._request = AggregateRequest(
            reading.loaded, reading.request, controls.method, controls.layer, controls.chosen_token
        )
        self._start()

    def _on_look_changed(self) -> None:
        if self._request is not None and self.isVisible():
            self._start()
        else:
            self._is_stale = True

    def _start(self) -> None:
        """What was read already is only drawn anew."""
        assert self._request is not None
        look = self._studio.look
        known = self.together.aggregate if self.together is not None else None
        arrangement = Arrangement(look.hide_special, look.merge_words)
        self._patience.start()
        self.asker.ask(
            read_together,
            TogetherRequest(self._request, arrangement, look.scale, known),
            title=self.tr("Putting the heads together"),
        )

    def _on_events(self, events: list[Event]) -> None:
        progress = [event for event in events if isinstance(event, Progress)]
        if progress and self._stack.currentIndex() == 1:
            self.state.setText(
                self.tr("Putting the heads together: {progress}").format(progress=progress_text(progress[-1]))
            )

    def _on_impatient(self) -> None:
        self._show_state(self.tr("Putting the heads together…"), self.stop)

    def _on_together(self, together: Together) -> None:
        self._patience.stop()
        self.together = together
        arranged = together.shaded.arranged
        self._stack.setCurrentIndex(0)
        labels = (arranged.queries.labels, arranged.keys.labels)
        if labels != self._labels:  # else the zoom stays
            self._labels = labels
            self.heatmap.set_tokens(*labels)
        self.heatmap.set_scaled(arranged.weights, together.shaded.scaled, self._colours(), together.shaded.levels)
        self._on_cell_chosen(self._studio.cell)
        self._on_cell_changed(self.heatmap.cell)

    def _on_failed(self, error: UserError) -> None:
        self._show_state("\n".join(error_texts(error)))

    def _show_state(self, text: str, button: QWidget | None = None) -> None:
        """In the place of the map."""
        self._patience.stop()
        self.state.setText(text)
        for each in (self.stop, self.again):
            each.setVisible(each is button)
        self._stack.setCurrentIndex(1)
        self.heatmap.clear()
        self.readout.setText("")

    def _colours(self) -> npt.NDArray[np.uint8]:
        """There is no difference to show, so no map for signed values is needed."""
        return colormap(self._studio.look.colormap, dark=theme.is_dark(self.palette()))

    # --- cells: those of the studio are places in the reading's own tokens

    def _shown_cell(self, cell: Cell | None) -> Cell | None:
        if self.together is None or cell is None:
            return None
        row = cell[0] - self._first_query
        if not 0 <= row < len(self.together.aggregate.queries):
            return None
        return self.together.shaded.arranged.shown((row, cell[1]))

    @property
    def _first_query(self) -> int:
        """Where the rows begin in the reading: at the one token that is followed, if it is one."""
        return (self._request.token or 0) if self._request is not None else 0

    def _on_cell_kept(self, cell: Cell | None) -> None:
        own = self.together.shaded.arranged.own(cell) if self.together is not None else None
        self._studio.choose_cell(None if own is None else (own[0] + self._first_query, own[1]))

    def _on_cell_chosen(self, cell: Cell | None) -> None:
        if self.together is not None and self.isVisible():
            shown = self._shown_cell(cell)
            if shown != self.heatmap.kept:
                self.heatmap.mark_cell(shown)

    def _on_cell_changed(self, cell: Cell | None) -> None:
        if self.together is None or cell is None:
            hint = self.tr("Point at a cell to read its value. The wheel zooms, dragging moves.")
            self.readout.setText(hint if self.together is not None else "")
            self.readout.setForegroundRole(QPalette.ColorRole.PlaceholderText)
            return
        arranged = self.together.shaded.arranged
        self.readout.setForegroundRole(QPalette.ColorRole.Text)
        self.readout.setText(
            cell_text(self.together.aggregate.method).format(
                query=arranged.queries.labels[cell[0]],
                key=arranged.keys.labels[cell[1]],
                weight=number_text(float(arranged.weights[cell]), 4),
            )
        )

    # --- heads

    def _on_head_changed(self) -> None:
        reading = self._shown_reading
        if reading is not None and self._studio.layer in reading.layers:
            place = (reading.layers.index(self._studio.layer), self._studio.head)
            self.entropy.set_current(place)
            self.distance.set_current(place)

    def _on_dot(self, row: int, head: int) -> None:
        if self._shown_reading is not None:
            self._studio.choose_head(self._shown_reading.layers[row], head)

    # --- Qt

    def showEvent(self, event: QEvent) -> None:
        super().showEvent(event)  # type: ignore[arg-type]
        if self._is_stale:
            self._refresh()
        else:
            self._on_cell_chosen(self._studio.cell)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "heatmap"):
            self.heatmap.set_lut(self._colours())

    def shutdown(self) -> None:
        self.controls.shutdown()
        self._patience.stop()
        self.asker.drop()
        self.heatmap.shutdown()
        for chart in (self.entropy, self.distance):
            chart.shutdown()
