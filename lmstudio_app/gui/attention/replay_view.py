"""The replay of one training: what its heads look at after one step, and where in the curves that is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QCheckBox, QComboBox, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.attention.replay_charts import ReplayCharts, nearest
from lmstudio_app.gui.attention.replay_heads import CHANGE, WEIGHTS, ReplayHeads
from lmstudio_app.gui.attention.replay_reading import Figures, FrameReader, News, ShownFrame
from lmstudio_app.gui.attention.step_bar import PACE, StepBar
from lmstudio_app.gui.job_runner import JobHandle
from lmstudio_app.gui.services import Services
from lmstudio_app.gui.text import error_texts, number_text
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.segments import Segments

if TYPE_CHECKING:
    from lmstudio_app.errors import UserError
    from lmstudio_app.gui.curves import RunCurves
    from lmstudio_app.training.frames import FrameFile

SPEEDS = (0.5, 1.0, 2.0, 4.0, 8.0)  # of a step in PACE milliseconds
_HELD = 256 * 2**20  # bytes of frames in memory, about
_SURE = 4  # frames after which the head that changes most is known well enough


class ReplayView(QWidget):
    """Give it a run with :meth:`begin` and what comes of it with :meth:`take`; it needs pyqtgraph."""

    def __init__(self, services: Services, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._services = services
        self._settings = services.settings
        self._files: list[FrameFile] = []
        self._figures: dict[FrameFile, Figures] = {}
        self._curves: RunCurves | None = None
        self._is_running = False
        self._index = 0
        self._looked_at = 0  # frames, when the head was chosen by itself
        self._held: dict[FrameFile, ShownFrame] = {}  # the newest last
        self._reader = FrameReader()
        self._handle: JobHandle | None = None
        self.heads = ReplayHeads(self._settings, self)
        self.heads.head_chosen.connect(self._show_entropy)
        self.charts = ReplayCharts(self)
        self.charts.setMinimumHeight(theme.em(self, 8))
        self.charts.setMaximumHeight(theme.em(self, 13))
        self.charts.step_chosen.connect(self._on_step_dragged)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.5))
        layout.addLayout(self._build_header())
        layout.addWidget(self.heads, 1)
        layout.addLayout(self._build_steps())
        layout.addWidget(self.charts)
        self.heads.set_mode(self.modes.current)

    def _build_header(self) -> QHBoxLayout:
        self.sentence = ElidedLabel(self)
        self.sentence.setAccessibleName(self.tr("The watched sentence"))
        self.modes = Segments(
            self.tr("What is drawn"),
            [
                (WEIGHTS, self.tr("Attention"), self.tr("How much each token takes from each other one, at this step")),
                (
                    CHANGE,
                    self.tr("Change since the start"),
                    self.tr("What has become more (orange) and less (blue) than before the first step"),
                ),
            ],
            self,
        )
        self.modes.choose(CHANGE if self._settings.get("replay.mode") == CHANGE else WEIGHTS)
        self.modes.chosen.connect(self._on_mode_chosen)
        self.follow = QCheckBox(self.tr("Follow"), self)
        self.follow.setAccessibleName(self.tr("Follow the training"))
        self.follow.setToolTip(self.tr("Go to each new recording as soon as it is there; moving back ends it"))
        self.follow.setChecked(True)
        self.follow.toggled.connect(self._on_follow_toggled)
        row = QHBoxLayout()
        row.setSpacing(theme.em(self, 0.7))
        row.addWidget(self.sentence, 1)
        row.addWidget(self.follow)
        row.addWidget(self.modes)
        return row

    def _build_steps(self) -> QHBoxLayout:
        self.steps = StepBar(
            self.tr("Step of the training"), self.tr("Move through the training, from one recording to the next"), self
        )
        self.steps.value_changed.connect(self._on_moved)
        self.speed = QComboBox(self)
        for speed in SPEEDS:
            self.speed.addItem(self.tr("{speed}×").format(speed=f"{speed:g}"), speed)
        self.speed.setAccessibleName(self.tr("Speed"))
        self.speed.setToolTip(self.tr("How fast it plays"))
        self.speed.setCurrentIndex(max(0, self.speed.findData(self._settings.get("replay.speed", 2.0))))
        self.speed.currentIndexChanged.connect(self._on_speed_chosen)
        self.place = QLabel(self)
        self.place.setAccessibleName(self.tr("Where it is"))
        self.place.setMinimumWidth(theme.characters(self, 20))
        self.place.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        row = QHBoxLayout()
        row.setSpacing(theme.em(self, 0.5))
        row.addWidget(self.steps, 1)
        row.addWidget(self.speed)
        row.addWidget(self.place)
        self._on_speed_chosen()
        return row

    # --- a run, and what comes of it

    def begin(self, text: str) -> None:
        """Another run, in which this sentence was watched."""
        self._drop()
        self.steps.set_count(0)
        self._files, self._figures, self._held = [], {}, {}
        self._curves = None
        self._reader = FrameReader()
        self._index = self._looked_at = 0
        self._is_running = False
        self.sentence.setText(self.tr("“{text}”").format(text=text) if text else "")
        self.follow.setChecked(True)
        self.follow.hide()
        self.heads.clear()
        self.charts.clear()

    def take(self, news: News) -> None:
        """What :class:`ReplayReader` has found."""
        if news.curves is not None:
            self._curves = news.curves
        elif self._curves is not None:
            self._curves.extend(news.events)
        self._is_running = news.is_running
        self.follow.setVisible(news.is_running)
        if self._curves is not None:
            self.charts.set_curves(self._curves, is_running=news.is_running)
        before = self._files
        self._files = list(news.files)
        known = set(self._files)
        self._figures = {file: figures for file, figures in self._figures.items() if file in known}
        self._figures.update(news.figures)
        if before != self._files:
            self._on_files_changed(before)
        if news.figures:
            self.heads.set_figures(self._figures)
            if news.is_complete and not self.heads.has_chosen and len(self._files) > self._looked_at:
                self._choose_head()
            self._show_entropy()

    def _on_files_changed(self, before: list[FrameFile]) -> None:
        at = before[self._index] if before else None
        self.steps.extend(len(self._files))
        if not self._files:
            return
        if self.follow.isChecked() and not self.steps.is_playing and (self._is_running or at is None):
            index = len(self._files) - 1
        else:
            index = nearest([file.step for file in self._files], at.step if at is not None else 0)
        self.steps.set_value(index)
        self._go_to(index)

    # --- which step

    @property
    def step(self) -> int | None:
        """Of the frame that is seen, or on its way."""
        return self._files[self._index].step if self._files else None

    def _go_to(self, index: int) -> None:
        self._index = index
        step = self._files[index].step
        self.charts.set_cursor(step)
        total = self._curves.last_step.total_steps if self._curves is not None and self._curves.last_step else 0
        text = self.tr("Step {step} of {total}") if total else self.tr("Step {step}")
        self.place.setText(text.format(step=number_text(step), total=number_text(total)))
        self._ask()

    def _on_moved(self, index: int) -> None:
        """By a person, or by Play."""
        if index < len(self._files):
            if not self.steps.is_playing:
                self._set_follow(index == len(self._files) - 1)
            self._go_to(index)

    def _on_step_dragged(self, step: float) -> None:
        if self._files:
            self.steps.stop()
            index = nearest([file.step for file in self._files], step)
            if index != self._index:
                self.steps.slider.setValue(index)  # tells _on_moved

    def _set_follow(self, on: bool) -> None:
        self.follow.blockSignals(True)
        self.follow.setChecked(on)
        self.follow.blockSignals(False)

    def _on_follow_toggled(self, on: bool) -> None:
        if on and self._files:
            self.steps.stop()
            self.steps.slider.setValue(len(self._files) - 1)

    def _on_speed_chosen(self) -> None:
        speed = self.speed.currentData()
        self._settings.set("replay.speed", speed)
        self.steps.set_pace(round(PACE / speed))

    # --- the frame

    def _ask(self) -> None:
        """Show the frame, from memory or when it has been read; while one is read the next waits."""
        file = self._files[self._index]
        if (held := self._held.get(file)) is not None:
            self._show(held)
        elif self._handle is None:
            request = (file, self._files[0])
            self._handle = handle = self._services.query_runner.start(self._reader, request, quiet=True)
            handle.succeeded.connect(lambda shown: self._on_read(handle, shown))
            handle.failed.connect(lambda error: self._on_failed(handle, error))

    def _on_read(self, handle: JobHandle, shown: ShownFrame) -> None:
        if handle is not self._handle:
            return
        self._handle = None
        size = 3 * shown.frame.weights.nbytes
        while self._held and (len(self._held) + 1) * size > _HELD:
            self._held.pop(next(iter(self._held)))
        self._held[shown.file] = shown
        if self._files:
            self._show(shown)  # also when it has moved on meanwhile: this one is nearer than the one before
            if self._files[self._index] != shown.file:
                self._ask()

    def _on_failed(self, handle: JobHandle, error: UserError) -> None:
        if handle is self._handle:
            self._handle = None
            self.heads.show_problem(" ".join(error_texts(error)))

    def _show(self, shown: ShownFrame) -> None:
        self.heads.show_frame(shown, is_start=shown.file == self._files[0])
        if not self.heads.has_chosen and self._looked_at == 0:
            self._choose_head()

    # --- the head

    def _choose_head(self) -> None:
        """Until a person has chosen one: that which has changed most, while it is not yet sure which that will be."""
        if self._looked_at < _SURE and self.heads.choose_most_moved(self._files[-1]):
            self._looked_at = len(self._files)
            self._show_entropy()

    def _show_entropy(self) -> None:
        row, column = self.heads.head
        known = [(file.step, self._figures[file].entropy) for file in self._files if file in self._figures]
        known = [(step, values) for step, values in known if row < len(values) and column < values.shape[1]]
        steps = np.array([step for step, _ in known], dtype=np.float64)
        self.charts.set_entropy(steps, np.array([values[row, column] for _, values in known], dtype=np.float64))

    def _on_mode_chosen(self, name: str) -> None:
        self._settings.set("replay.mode", name)
        self.heads.set_mode(name)

    def _drop(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.cancel()

    def shutdown(self) -> None:
        self._drop()
        self.steps.stop()
        self.heads.shutdown()
        self.charts.shutdown()
