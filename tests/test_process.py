from __future__ import annotations

import contextlib
import gc
import sys
import threading

import pytest

from lmstudio_app.libraries import is_importing, patience
from lmstudio_app.process import SharedChange, no_garbage_collection


def test_the_first_one_in_changes_and_the_last_one_out_takes_it_back() -> None:
    told: list[str] = []

    def make(undo: contextlib.ExitStack) -> None:
        told.append("made")
        undo.callback(told.append, "undone")

    change = SharedChange(make)
    for _ in range(2):
        with change:
            with pytest.raises(ZeroDivisionError), change:
                raise ZeroDivisionError
            assert change.active
        assert not change.active
    assert told == ["made", "undone"] * 2


def test_a_change_that_fails_is_taken_back() -> None:
    told: list[str] = []

    def make(undo: contextlib.ExitStack) -> None:
        undo.callback(told.append, "undone")
        raise ZeroDivisionError

    change = SharedChange(make)
    with pytest.raises(ZeroDivisionError), change:
        pass
    assert told == ["undone"]
    assert not change.active


def test_overlapping_imports_leave_the_process_as_it_was() -> None:
    """First in, second in, first out, second out."""
    interval = sys.getswitchinterval()
    assert gc.isenabled()
    second_is_in, first_is_out = threading.Event(), threading.Event()

    def come_second() -> None:
        with patience():
            second_is_in.set()
            first_is_out.wait()

    thread = threading.Thread(target=come_second)
    try:
        with patience():
            thread.start()
            second_is_in.wait()
        assert is_importing()
        assert not gc.isenabled()
    finally:
        first_is_out.set()
        thread.join()
        gc.unfreeze()
    assert not is_importing()
    assert gc.isenabled()
    assert sys.getswitchinterval() == interval


def test_collecting_goes_on_only_where_it_went_before() -> None:
    gc.disable()
    try:
        with no_garbage_collection:
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
