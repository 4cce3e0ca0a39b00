"""The view through the logit lens: what the model would say if it stopped after each layer."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
from PySide6.QtCore import QEvent, Qt
from PySide6.QtWidgets import QHBoxLayout, QSplitter, QStackedWidget, QVBoxLayout, QWidget

from lmstudio_app.errors import UserError
from lmstudio_app.gui import theme
from lmstudio_app.gui.asker import Asker
from lmstudio_app.gui.attention.lens_grid import LensGrid, visible_text
from lmstudio_app.gui.attention.reasons_note import SourcedNote
from lmstudio_app.gui.attention.state_label import StateLabel
from lmstudio_app.gui.attention.studio import AttentionStudio
from lmstudio_app.gui.splitters import keep_sizes
from lmstudio_app.gui.text import error_texts, number_text
from lmstudio_app.gui.widgets.buttons import make_button
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.live_chart import LiveChart, Series
from lmstudio_app.gui.widgets.scaled_label import Heading, Hint
from lmstudio_app.gui.widgets.try_candidates import CandidateList
from lmstudio_app.inspection.attribution_inputs import input_of
from lmstudio_app.inspection.logit_lens import Lens, LensRequest, read_lens

_TOP = 10  # words that are kept of each place


class _Candidate(NamedTuple):
    token: str
    probability: float


class LensView(QWidget):
    """Reads while it is seen."""

    def __init__(self, studio: AttentionStudio, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._studio = studio
        self._is_stale = True
        self._place: int | None = None
        self.asker = Asker(studio.services.inspection_runner, self)
        self.title = Hint("", self)
        self.progress = ElidedLabel(self)
        self.stop = make_button(self.tr("Stop"), self.tr("Read no further layer"), self, self.asker.stop)
        self.grid = LensGrid(self)
        self.grid.cell_chosen.connect(self._on_cell)
        self.cell_title = Heading("", self, scale=1.0)
        self.cell_title.setWordWrap(True)
        self.top = CandidateList(
            self.tr("Likeliest words"), self.tr("What the model would say at the chosen token after the chosen layer")
        )
        self.top.setCursor(Qt.CursorShape.ArrowCursor)
        self.chart = LiveChart(
            self.tr("How the answer forms"),
            [Series("share", "", 0, width=2.0, markers=True)],
            lambda value: self.tr("{share} %").format(share=number_text(value, 1)),
            tip=self.tr("How probable the model's final answer is after each layer, in percent"),
            parent=self,
        )
        self.state = StateLabel(self)
        self.note = SourcedNote(
            self.tr("What can this lens tell?"),
            self._paragraphs(),
            studio.services.settings,
            "attention.lens.note",
            self,
        )
        self._lay_out()
        self.asker.succeeded.connect(self._on_lens)
        self.asker.failed.connect(self._on_failed)
        self.asker.stopped.connect(lambda: self._show_state(self.tr("Stopped.")))
        self.asker.busy_changed.connect(self._on_busy)
        self._on_busy(False)
        studio.reading_changed.connect(self._on_reading)
        self._show_state(self.tr("Type a text to see what the model would say after each layer."))

    def _paragraphs(self) -> tuple[str, ...]:
        return (
            self.tr(
                "The state of a token after each layer is treated as if it were the last: it goes through the model's "
                "own final norm and output head, which make words (or labels) of it (nostalgebraist 2020). So one sees "
                "after which layer an answer appears, and what it was up against. The last row is what the model says."
            ),
            self.tr(
                "The head was made for the last layer's states. Early layers can hold an answer in a form that it "
                "cannot read, and look more confused than they are; the tuned lens, which learns a translation for "
                "each layer, shows more (Belrose et al. 2023). A word that appears early is no proof that it was used."
            ),
        )

    def _lay_out(self) -> None:
        gap = theme.em(self, 0.4)
        chosen = QWidget(self)
        left = QVBoxLayout(chosen)
        left.setContentsMargins(0, 0, 0, 0)
        left.setSpacing(gap)
        left.addWidget(self.cell_title)
        left.addWidget(self.top)
        left.addStretch(1)
        below = QWidget(self)
        row = QHBoxLayout(below)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(2 * gap)
        row.addWidget(chosen, 2)
        row.addWidget(self.chart, 3)
        halves = QSplitter(Qt.Orientation.Vertical, self)
        halves.setChildrenCollapsible(False)
        halves.addWidget(self.grid)
        halves.addWidget(below)
        below.setMaximumHeight(theme.em(self, 17))  # the chart would take half of the page
        keep_sizes(halves, self._studio.services.settings, "attention.lens.panes", (500, 300))
        self._stack = QStackedWidget(self)
        self._stack.addWidget(halves)
        self._stack.addWidget(self.state)
        bar = QHBoxLayout()
        bar.addWidget(self.title, 1)
        bar.addWidget(self.progress)
        bar.addWidget(self.stop)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(gap)
        layout.addLayout(bar)
        layout.addWidget(self._stack, 1)
        layout.addWidget(self.note)
        self.setFocusProxy(self.grid)

    @property
    def lens(self) -> Lens | None:
        return self.grid.lens_model.lens

    # --- reading

    def _read(self) -> None:
        reading = self._studio.reading
        if reading is None:
            self._show_state(self.tr("Type a text to see what the model would say after each layer."))
            return
        self._is_stale = False
        self._show_state(self.tr("Reading every layer…"))
        self.asker.ask(
            partial(read_lens, reading.loaded),
            LensRequest(input_of(reading.request), _TOP),
            title=self.tr("Reading every layer"),
        )

    def _on_busy(self, busy: bool) -> None:
        self.stop.setVisible(busy)
        self.progress.setVisible(busy)

    def _on_lens(self, lens: Lens) -> None:
        self._stack.setCurrentIndex(0)
        self.grid.set_lens(lens)
        self.title.setText(
            {
                "next": self.tr(
                    "Read downwards: which token would come next after each one. Bold: as in the end; ␣: a space."
                ),
                "word": self.tr("Read downwards: which word the model would put at each place. Bold: as in the end."),
                "labels": self.tr("Read downwards: which label each token would get. Bold: as in the end."),
                "label": self.tr("Read downwards: how probable each label would be after each layer."),
            }[lens.kind]
        )
        self.grid.choose(lens.layers, self._first_column(lens))

    def _first_column(self, lens: Lens) -> int:
        """Where the answer is that a person looks for: after the whole text, the first gap, the winning label."""
        if lens.kind == "label":
            return self.grid.lens_model.labels.index(int(lens.answers[0]))
        if lens.kind == "next":  # a written target ends with a token that ends it
            return 0 if 1 in lens.tokens.segments else len(lens.tokens) - 1
        masks = [index for index, label in enumerate(lens.tokens.labels) if label in ("[MASK]", "<mask>")]
        words = [index for index, special in enumerate(lens.tokens.special) if not special]
        return (masks or words or [0])[0]

    def _on_failed(self, error: UserError) -> None:
        message, remedy = error_texts(error)
        self._show_state(f"{message} {remedy}".strip())

    def _show_state(self, text: str) -> None:
        self.title.setText("")
        self.grid.set_lens(None)
        self.state.setText(text)
        self._stack.setCurrentIndex(1)

    # --- the chosen cell

    def _on_cell(self, row: int, column: int) -> None:
        lens, model = self.lens, self.grid.lens_model
        assert lens is not None
        place = 0 if model.labels else column
        self.cell_title.setText(model.cell_title(row, column))
        self.top.set_candidates([_Candidate(*pair) for pair in lens.top(row, place)], visible_text)
        shares = (
            np.array([model.share(layer, column) for layer in range(len(lens.ids))])
            if model.labels
            else lens.answer_probabilities[:, place]
        )
        answer = lens.names[model.labels[column] if model.labels else int(lens.answers[place])]
        self.chart.set_title(self.tr("How “{answer}” forms").format(answer=visible_text(answer)))
        self.chart.set_data("share", np.arange(len(shares), dtype=np.float64), 100 * shares.astype(np.float64))
        self.chart.set_extent(max(1.0, len(shares) - 1.0))
        self._draw_chart(row)

    def _draw_chart(self, row: int) -> None:
        if self.isVisible():
            self.chart.refresh()
            assert self.lens is not None
            axis = self.chart.plot.getPlotItem().getAxis("bottom")
            axis.setTickSpacing(levels=[(max(1, round(self.lens.layers / 8)), 0)])  # whole layers
            self.chart.show_crosshair(float(row))

    # --- coming and going

    def _on_reading(self) -> None:
        self.asker.drop()
        self._is_stale = True
        if self.isVisible():
            self._read()

    def showEvent(self, event: QEvent) -> None:
        super().showEvent(event)  # type: ignore[arg-type]
        if self._is_stale:
            self._read()
        elif self.lens is not None:
            self._draw_chart(self.grid.currentIndex().row())

    def hideEvent(self, event: QEvent) -> None:
        super().hideEvent(event)  # type: ignore[arg-type]
        if self.asker.busy:
            self.asker.drop()
            self._is_stale = True

    def shutdown(self) -> None:
        self.asker.drop()
        self.chart.shutdown()
