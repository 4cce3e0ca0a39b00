import itertools
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.events import Event, Progress, Status
from lmstudio_app.gui.job_runner import JobHandle, JobRunner, has_unstoppable_jobs
from lmstudio_app.jobs import JobContext


@pytest.fixture
def runner(qapp) -> Iterator[JobRunner]:
    runner = JobRunner(None, "test")
    yield runner
    assert runner.shutdown(5.0)


class Log:
    """Every signal of a handle, in its order."""

    def __init__(self, handle: JobHandle) -> None:
        self.signals: list[str] = []
        self.events: list[Event] = []
        self.batches: list[tuple[float, int]] = []
        self.values: list[object] = []
        handle.event.connect(self._on_events)
        for name in ("started", "succeeded", "failed", "cancelled", "finished"):
            getattr(handle, name).connect(lambda *values, name=name: self._on_signal(name, values))

    def _on_signal(self, name: str, values: tuple[object, ...]) -> None:
        self.signals.append(name)
        self.values.extend(values)

    def _on_events(self, events: list[Event]) -> None:
        self.signals.append("event")
        self.events.extend(events)
        self.batches.append((time.monotonic(), len(events)))


def emit_many(count: int, ctx: JobContext) -> int:
    for number in range(count):
        ctx.emit(Progress(done=number))
    return count


def emit_for(seconds: float, ctx: JobContext) -> int:
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        ctx.emit(Progress(done=count))
        count += 1
        time.sleep(0.0002)
    return count


def wait_for_cancel(_: None, ctx: JobContext) -> None:
    while True:
        ctx.check()
        time.sleep(0.005)


def thread_name(_: None, ctx: JobContext) -> int:
    return threading.get_ident()


def fail(error: Exception, ctx: JobContext) -> None:
    ctx.status("About to fail")
    raise error


def test_a_job_runs_in_the_one_thread_of_its_runner(qtbot, runner: JobRunner) -> None:
    found = []
    for _ in range(3):
        handle = runner.start(thread_name, None)
        handle.succeeded.connect(found.append)
        with qtbot.waitSignal(handle.finished):
            pass
    assert len(set(found)) == 1
    assert found[0] != threading.get_ident()


def test_signals_come_in_the_windows_thread_and_finished_comes_last(qtbot, runner: JobRunner) -> None:
    threads = set()
    handle = runner.start(emit_many, 10)
    log = Log(handle)
    for signal in (handle.event, handle.succeeded, handle.finished):
        signal.connect(lambda *_: threads.add(threading.get_ident()))
    with qtbot.waitSignal(handle.finished):
        pass
    assert threads == {threading.get_ident()}
    assert log.signals[-2:] == ["succeeded", "finished"]
    assert log.values == [10]
    assert not handle.running


def test_a_flood_of_events_loses_none_and_keeps_their_order(qtbot, runner: JobRunner) -> None:
    handle = runner.start(emit_many, 100_000)
    log = Log(handle)
    with qtbot.waitSignal(handle.finished, timeout=20_000):
        pass
    assert [event.done for event in log.events] == list(range(100_000))
    assert log.signals[-2:] == ["succeeded", "finished"]
    assert log.signals.count("event") <= 20 * 5


def test_events_come_in_at_most_twenty_signals_a_second(qtbot, runner: JobRunner) -> None:
    handle = runner.start(emit_for, 1.0)
    log = Log(handle)
    with qtbot.waitSignal(handle.finished, timeout=10_000):
        pass
    times = [moment for moment, _ in log.batches]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times[:-1])]  # the last drain may be early
    assert len(log.batches) >= 5
    assert min(gaps) >= 0.045
    assert sum(count for _, count in log.batches) == log.values[-1]


def test_a_single_event_does_not_wait_for_a_tick(qtbot, runner: JobRunner) -> None:
    sent, got = [], []

    def _job(_: None, ctx: JobContext) -> None:
        time.sleep(0.2)
        sent.append(time.monotonic())
        ctx.status("Now")
        time.sleep(0.2)

    handle = runner.start(_job, None)
    handle.event.connect(lambda events: got.append(time.monotonic()))
    with qtbot.waitSignal(handle.finished):
        pass
    assert got[0] - sent[0] < 0.045


@pytest.mark.parametrize(
    "error",
    [RuntimeError("from torch"), ValueError("bad"), MemoryError(), SystemError("odd"), OSError(28, "full")],
    ids=lambda error: type(error).__name__,
)
def test_every_exception_becomes_a_user_error(qtbot, runner: JobRunner, error: Exception) -> None:
    handle = runner.start(fail, error)
    log = Log(handle)
    with qtbot.waitSignal(handle.finished):
        pass
    assert log.signals[-3:] == ["event", "failed", "finished"]
    problem = log.values[0]
    assert isinstance(problem, UserError)
    assert problem.message
    assert "Traceback" in problem.details


def test_a_user_error_keeps_its_words(qtbot, runner: JobRunner) -> None:
    handle = runner.start(fail, UserError("No {thing}.", "Get one.", thing="file"))
    log = Log(handle)
    failures = []
    runner.job_failed.connect(lambda failed, error: failures.append((failed, error.message)))
    with qtbot.waitSignal(handle.finished):
        pass
    assert failures == [(handle, "No file.")]
    assert isinstance(log.values[0], UserError)
    assert (log.values[0].message, log.values[0].remedy) == ("No file.", "Get one.")


def test_the_runner_works_on_after_a_failure(qtbot, runner: JobRunner) -> None:
    runner.start(fail, RuntimeError("x"))
    handle = runner.start(emit_many, 1)
    with qtbot.waitSignal(handle.succeeded):
        pass
    assert not handle.running


def test_a_cancelled_job_says_so_and_nothing_else(qtbot, runner: JobRunner) -> None:
    handle = runner.start(wait_for_cancel, None)
    log = Log(handle)
    with qtbot.waitSignal(handle.finished):
        handle.cancel()
    assert log.signals == ["cancelled", "finished"]


def test_jobs_wait_for_their_turn_and_a_waiting_one_can_be_cancelled(qtbot, runner: JobRunner) -> None:
    ran = []

    def _job(number: int, ctx: JobContext) -> None:
        ran.append(number)

    first = runner.start(wait_for_cancel, None)
    second, third = runner.start(_job, 2), runner.start(_job, 3)
    log = Log(second)
    assert second.running
    with qtbot.waitSignal(second.finished):
        second.cancel()
    assert log.signals == ["cancelled", "finished"]
    assert first.running
    with qtbot.waitSignal(third.finished):
        first.cancel()
    assert ran == [3]


def test_a_job_can_start_the_next_one_from_its_last_signals(qtbot, runner: JobRunner) -> None:
    busy: list[bool] = []
    runner.busy_changed.connect(busy.append)
    handles: list[JobHandle] = []
    first = runner.start(emit_many, 1)
    first.succeeded.connect(lambda _: handles.append(runner.start(emit_many, 2)))
    with qtbot.waitSignal(first.finished):
        pass
    with qtbot.waitSignal(handles[0].finished):
        pass
    qtbot.waitUntil(lambda: not runner.busy)
    assert busy == [True, False]


def test_pause_holds_the_job_and_resume_lets_it_go_on(qtbot, runner: JobRunner) -> None:
    def _job(_: None, ctx: JobContext) -> None:
        for number in range(1000):
            ctx.check()
            ctx.emit(Progress(done=number))
            time.sleep(0.002)

    handle = runner.start(_job, None)
    log = Log(handle)
    changes: list[bool] = []
    handle.paused_changed.connect(changes.append)
    qtbot.waitUntil(lambda: len(log.events) > 3)
    handle.pause()
    qtbot.wait(120)
    held = len(log.events)
    qtbot.wait(120)
    assert len(log.events) == held
    handle.resume()
    qtbot.waitUntil(lambda: len(log.events) > held)
    assert changes == [True, False]
    with qtbot.waitSignal(handle.finished):
        handle.cancel()


def test_stop_asks_the_job_to_end_in_good_order(qtbot, runner: JobRunner) -> None:
    def _job(_: None, ctx: JobContext) -> str:
        while not ctx.stopping:
            time.sleep(0.002)
        return "what there is"

    handle = runner.start(_job, None)
    log = Log(handle)
    with qtbot.waitSignal(handle.finished):
        handle.stop()
    assert log.values == ["what there is"]


def test_shutdown_cancels_and_delivers_the_outcome(qtbot, qapp) -> None:
    runner = JobRunner(None, "test")
    running, waiting = runner.start(wait_for_cancel, None), runner.start(emit_many, 3)
    logs = Log(running), Log(waiting)
    start = time.monotonic()
    assert runner.shutdown(5.0)
    assert time.monotonic() - start < 1.0
    assert [log.signals for log in logs] == [["cancelled", "finished"], ["cancelled", "finished"]]
    with pytest.raises(RuntimeError, match="shut down"):
        runner.start(emit_many, 1)


def test_events_before_a_shutdown_are_not_lost(qtbot, qapp) -> None:
    runner = JobRunner(None, "test")
    begun = threading.Event()

    def _job(_: None, ctx: JobContext) -> None:
        for number in range(500):
            ctx.emit(Progress(done=number))
        begun.set()
        wait_for_cancel(None, ctx)

    log = Log(runner.start(_job, None))
    assert begun.wait(5)
    assert runner.shutdown(5.0)
    assert len(log.events) == 500


def test_a_job_that_does_not_end_is_reported_and_not_destroyed(qtbot, qapp) -> None:
    runner = JobRunner(None, "test")
    begun, release = threading.Event(), threading.Event()

    def _job(_: None, ctx: JobContext) -> None:
        begun.set()
        release.wait(10)

    runner.start(_job, None)
    assert begun.wait(5)
    assert not runner.shutdown(0.05)
    assert has_unstoppable_jobs()
    release.set()
    qtbot.waitUntil(lambda: not has_unstoppable_jobs())


def test_cancelled_unwinds_from_anywhere(qtbot, runner: JobRunner) -> None:
    def _deep(depth: int, ctx: JobContext) -> None:
        if depth:
            _deep(depth - 1, ctx)
        raise Cancelled

    handle = runner.start(_deep, 50)
    log = Log(handle)
    with qtbot.waitSignal(handle.finished):
        pass
    assert log.signals == ["cancelled", "finished"]


def test_a_result_does_not_live_as_long_as_its_handle(qtbot, runner: JobRunner) -> None:
    import weakref

    class Model:
        pass

    handle = runner.start(lambda _, ctx: Model(), None)
    found: list[weakref.ref[Model]] = []
    handle.succeeded.connect(lambda model: found.append(weakref.ref(model)))
    with qtbot.waitSignal(handle.finished):
        pass
    qtbot.wait(20)
    assert found[0]() is None


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="None and True cannot be freed there")
def test_this_qt_binding_counts_references_to_true_and_none_right(qtbot, runner: JobRunner) -> None:
    """PySide6 6.12.0 gave one reference to True too many back at every emission, which ends Python 3.11."""
    before = sys.getrefcount(True), sys.getrefcount(None)
    for _ in range(500):
        runner.busy_changed.emit(True)
        runner._prepare.emit()
    after = sys.getrefcount(True), sys.getrefcount(None)
    assert min(after[0] - before[0], after[1] - before[1]) > -100


def test_the_handle_is_a_working_qt_object_in_spite_of_a_signal_called_event(qtbot, runner: JobRunner) -> None:
    handle = runner.start(fail, UserError("x"))
    timer = handle.startTimer(1)
    qtbot.wait(20)
    handle.killTimer(timer)
    assert isinstance(Status(template="x"), Event)
    assert not handle.running
