"""While it learns: the trainings in which a sentence was watched, and the replay of one of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from PySide6.QtCore import QEvent, Qt, QTimer, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QStackedWidget, QVBoxLayout, QWidget

from lmstudio_app.errors import UserError
from lmstudio_app.gui import theme
from lmstudio_app.gui.attention.replay_reading import News, Replay, ReplayReader, ReplaysFound, find_replays
from lmstudio_app.gui.attention.replay_view import ReplayView
from lmstudio_app.gui.job_runner import JobHandle
from lmstudio_app.gui.run_texts import data_name, moment_text, run_title, state_text
from lmstudio_app.gui.services import Services
from lmstudio_app.gui.text import error_texts, number_text
from lmstudio_app.gui.widgets.buttons import make_button
from lmstudio_app.gui.widgets.empty_state import EmptyState
from lmstudio_app.gui.widgets.quiet_combo import QuietCombo

POLL = 700  # milliseconds between two looks at a run that is being trained


class ReplayPage(QWidget):
    """Choose a run; it is followed while somebody trains it, also another process. It works only while it is seen."""

    step_requested = Signal(str)  # name of the page to go to
    compare_requested = Signal(Path)  # the run's folder: before and after it

    def __init__(self, services: Services, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._services = services
        self._replays: list[Replay] = []
        self._current: Replay | None = None
        self._wanted: Path | None = None  # a run that is to be shown as soon as the list is there
        self._reader: ReplayReader | None = None
        self._handle: JobHandle | None = None  # of the look at the run
        self._listing: JobHandle | None = None
        self._problem: tuple[str, str] | None = None  # with the run that was asked for
        self._is_running = False
        self._is_shut_down = False
        self.runs = QuietCombo(
            self.tr("Training"),
            self.tr("Trainings in which a sentence was watched come first, the newest at the top"),
            self,
        )
        self.runs.setMinimumContentsLength(30)
        self.runs.setPlaceholderText(self.tr("Looking for trainings…"))
        self.runs.activated.connect(self._on_run_chosen)
        label = QLabel(self.tr("Training"), self)
        label.setBuddy(self.runs)
        row = QHBoxLayout()
        row.addWidget(label)
        row.addWidget(self.runs, 1)
        self.compare = make_button(
            self.tr("Compare before and after"),
            self.tr("Show which heads this training has changed most, side by side"),
            self,
            lambda: self._current is not None and self.compare_requested.emit(self._current.run.folder),
        )
        self.compare.setEnabled(False)
        row.addWidget(self.compare)
        self.view = ReplayView(services, self)
        self.empty = EmptyState(self)
        self._stack = QStackedWidget(self)
        self._stack.addWidget(self.empty)
        self._stack.addWidget(self.view)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.5))
        layout.addLayout(row)
        layout.addWidget(self._stack, 1)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(POLL)
        self._timer.timeout.connect(self._look)

    # --- what others call

    def set_model(self, model: Any) -> None:
        """A recording needs no model."""

    def show_run(self, folder: Path) -> None:
        """Show this run, wherever its folder is; its newest recordings if it is being trained."""
        self._wanted = folder
        if self.isVisible():
            self._list()

    def shutdown(self) -> None:
        self._is_shut_down = True
        self._timer.stop()
        for handle in (self._handle, self._listing):
            if handle is not None:
                handle.cancel()
        self.view.shutdown()

    # --- the list of runs

    def _list(self) -> None:
        if self._is_shut_down or self._listing is not None:
            return
        wanted = self._wanted or (self._current.run.folder if self._current is not None else None)
        self._listing = handle = self._services.query_runner.start(find_replays, wanted, quiet=True)
        handle.succeeded.connect(lambda found: self._on_listed(wanted, found))
        handle.failed.connect(self._on_list_failed)
        handle.finished.connect(self._on_list_finished)

    def _on_list_finished(self) -> None:
        self._listing = None
        if self._wanted is not None and self.isVisible():  # another one was asked for meanwhile
            self._list()

    def _on_listed(self, wanted: Path | None, found: ReplaysFound) -> None:
        if self._is_shut_down:
            return
        if self._wanted == wanted:
            self._wanted = None
        self._replays = list(found.replays)
        self.runs.clear()
        for replay in self._replays:
            self.runs.addItem(self._title(replay), replay)
            self.runs.setItemData(self.runs.count() - 1, str(replay.run.folder), Qt.ItemDataRole.ToolTipRole)
        chosen = found.chosen
        if chosen is None and self._replays and self._replays[0].frames:
            chosen = self._replays[0]
        problem, self._problem = self._problem, None
        if problem is not None:
            chosen = None
        self.runs.setPlaceholderText(self.tr("Choose a training") if self._replays else self.tr("No trainings yet"))
        self.runs.setCurrentIndex(self._replays.index(chosen) if chosen is not None else -1)
        self._show(chosen)
        if problem is not None:
            self._say(*problem)

    def _on_list_failed(self, error: UserError) -> None:
        """What was asked for is no run, or none any more; the others can be chosen all the same."""
        is_asked = self._wanted is not None or self._current is not None
        self._wanted = self._current = None
        self.compare.setEnabled(False)
        self._problem = error_texts(error)
        if is_asked:
            QTimer.singleShot(0, self, self._list)
        else:
            self._say(*self._problem)

    def _title(self, replay: Replay) -> str:
        run = replay.run
        parts = [moment_text(run.started), run_title(run)]
        if replay.frames:
            parts.append(self.tr("{count} recordings").format(count=number_text(replay.frames)))
        elif not replay.text:
            parts.append(self.tr("nothing recorded"))
        if run.state != "finished":
            parts.append(state_text(run.state, paused=run.paused))
        return "  ·  ".join([*parts, data_name(run)])

    def _on_run_chosen(self, index: int) -> None:
        self._show(self.runs.itemData(index))

    # --- one run

    def _show(self, replay: Replay | None) -> None:
        before, self._current = self._current, replay
        self.compare.setEnabled(replay is not None)
        if replay is None:
            self._say(
                self.tr("No training has been watched yet") if not self._replays else self.tr("Choose a training"),
                self.tr(
                    "Give a sentence on the Train page, under “Watch a sentence while it learns”. While the model "
                    "trains, what each of its heads looks at in that sentence is recorded, and you can play it here "
                    "like a film, beside the loss."
                ),
                offers_train=True,
            )
            return
        if before is None or before.run.folder != replay.run.folder or self._reader is None:
            self._drop()
            self._reader = ReplayReader(replay.run.folder)
            self.view.begin(replay.text)
        if not replay.frames and not replay.text:
            self._say(
                self.tr("No sentence was watched in this training"),
                self.tr(
                    "What a model looks at can only be recorded while it learns. Give a sentence on the Train page "
                    "before you start the next training."
                ),
                offers_train=True,
            )
            return
        self._look()

    def _say(self, title: str, text: str, *, offers_train: bool = False) -> None:
        self._timer.stop()
        self.empty.set_texts(title, text)
        self.empty.clear_buttons()
        if offers_train:
            self.empty.offer(
                self.tr("Go to Train"),
                self.tr("Give a sentence to watch, and start a training"),
                lambda: self.step_requested.emit("train"),
            )
        self._stack.setCurrentWidget(self.empty)

    def _look(self) -> None:
        """What is new in the run."""
        if self._handle is not None or self._reader is None or self._is_shut_down or not self.isVisible():
            return
        self._handle = handle = self._services.query_runner.start(self._reader, None, quiet=True)
        handle.succeeded.connect(lambda news: self._on_news(handle, news))
        handle.failed.connect(lambda error: self._on_look_failed(handle, error))
        handle.cancelled.connect(lambda: self._on_cancelled(handle))

    def _on_news(self, handle: JobHandle, news: News) -> None:
        if handle is not self._handle:
            return
        self._handle = None
        self._is_running = news.is_running
        self.view.take(news)
        if self._current is not None and len(news.files) != self._current.frames:
            self._recount(len(news.files))
        if news.files:
            self._stack.setCurrentWidget(self.view)
        elif news.is_running:
            self._say(
                self.tr("Waiting for the first recording"),
                self.tr("It comes before the first step, as soon as the data and the model are ready."),
            )
        else:
            self._say(
                self.tr("Nothing has been recorded"),
                self.tr("The training ended before its first step, or its model does not show what it looks at."),
            )
        if not news.is_complete:
            QTimer.singleShot(0, self, self._look)  # after other questions
        elif news.is_running:
            self._timer.start()

    def _recount(self, frames: int) -> None:
        assert self._current is not None
        index = self._replays.index(self._current)
        self._current = self._replays[index] = replace(self._current, frames=frames)
        self.runs.setItemText(index, self._title(self._current))
        self.runs.setItemData(index, self._current)

    def _on_look_failed(self, handle: JobHandle, error: UserError) -> None:
        if handle is self._handle:
            self._handle = None
            self._reader = None
            self._say(*error_texts(error))

    def _on_cancelled(self, handle: JobHandle) -> None:
        if handle is self._handle:
            self._handle = None

    def _drop(self) -> None:
        self._timer.stop()
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.cancel()

    def showEvent(self, event: QEvent) -> None:
        super().showEvent(event)  # type: ignore[arg-type]
        self._list()

    def hideEvent(self, event: QEvent) -> None:
        super().hideEvent(event)  # type: ignore[arg-type]
        self._timer.stop()
