import threading
import time

import pytest

from lmstudio_app.errors import Cancelled
from lmstudio_app.events import Event, Progress, Status
from lmstudio_app.jobs import Control, JobContext, Meter


def test_events_arrive_in_order_and_are_translated_late() -> None:
    events: list[Event] = []
    ctx = JobContext(events.append)
    ctx.status("Loading {name}", name="bert")
    ctx.warn("Row {row} is empty", row=3)
    first, second = events
    assert isinstance(first, Status)
    assert isinstance(second, Status)
    assert (first.message, first.warning) == ("Loading bert", False)
    assert (second.message, second.warning) == ("Row 3 is empty", True)


def test_check_raises_only_after_cancel() -> None:
    ctx = JobContext()
    ctx.check()
    ctx.control.cancel()
    with pytest.raises(Cancelled):
        ctx.check()


def test_stop_is_no_cancel() -> None:
    ctx = JobContext()
    ctx.control.stop()
    ctx.check()
    assert ctx.stopping
    assert not ctx.control.cancelled


@pytest.mark.parametrize("end", ["cancel", "stop"])
def test_a_job_that_is_to_end_is_not_paused(end: str) -> None:
    """Else a pause that comes a moment later would keep it from ending for ever."""
    control = Control()
    getattr(control, end)()
    control.pause()
    assert not control.paused


@pytest.mark.parametrize("wake", ["resume", "cancel", "stop"])
def test_a_paused_job_waits_until_it_is_woken(wake: str) -> None:
    control = Control()
    ctx = JobContext(control=control)
    outcome: list[str] = []

    def _job() -> None:
        try:
            ctx.check()
            outcome.append("went on")
        except Cancelled:
            outcome.append("cancelled")

    control.pause()
    assert control.paused
    thread = threading.Thread(target=_job)
    thread.start()
    time.sleep(0.05)
    assert outcome == []
    getattr(control, wake)()
    thread.join(5)
    assert outcome == (["cancelled"] if wake == "cancel" else ["went on"])


def test_the_meter_speaks_at_most_ten_times_a_second_and_at_the_end() -> None:
    events: list[Event] = []
    meter = JobContext(events.append).meter(1000, "rows")
    start = time.monotonic()
    for done in range(1001):
        meter.update(done)
    seconds = time.monotonic() - start
    assert 1 <= len(events) <= seconds / Meter.interval + 1
    last = events[-1]
    assert isinstance(last, Progress)
    assert (last.done, last.total, last.unit, last.eta) == (1000, 1000, "rows", 0)


def test_the_meter_knows_rate_and_time_left_from_where_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    events: list[Event] = []
    meter = JobContext(events.append).meter(1000, "B")
    meter.update(400)  # a resumed download
    now[0] += 2.0
    meter.update(600)
    last = events[-1]
    assert isinstance(last, Progress)
    assert (last.rate, last.eta) == (100.0, 4.0)


def test_a_meter_without_a_total_has_no_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    events: list[Event] = []
    meter = JobContext(events.append).meter(None, "rows")
    meter.update(0)
    now[0] = 1.0
    meter.update(50)
    last = events[-1]
    assert isinstance(last, Progress)
    assert (last.total, last.rate, last.eta) == (None, 50.0, None)


def test_tracking_checks_before_every_item() -> None:
    ctx = JobContext()
    seen: list[int] = []

    def _job() -> None:
        for item in ctx.track(range(10), 10, "rows"):
            seen.append(item)
            if item == 3:
                ctx.control.cancel()

    with pytest.raises(Cancelled):
        _job()
    assert seen == [0, 1, 2, 3]
