"""The transcript of the Chat page by itself."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from lmstudio_app.gui.widgets.chat_body import CodeColours, CodePart
from lmstudio_app.gui.widgets.chat_distribution import DistributionPicture, resampled
from lmstudio_app.gui.widgets.chat_list import highlighted
from lmstudio_app.gui.widgets.chat_transcript import Transcript
from lmstudio_app.gui.widgets.chat_turn import CUT, FAILED, STOPPED, WRITING, Turn, speed_text

REPLY = "## Title\n\nSome **bold** text, `code` and a list:\n\n- one\n- two\n\n```python\nx = 1\n```\n\nThe end."


@pytest.fixture
def transcript(qtbot: Any, services: Any) -> Iterator[Transcript]:
    made = Transcript(CodeColours(services.query_runner))
    qtbot.addWidget(made)
    made.resize(800, 600)
    made.show()
    qtbot.waitExposed(made)
    yield made
    qtbot.waitUntil(lambda: not services.query_runner.busy)


def conversation(count: int) -> list[Turn]:
    return [
        Turn(n, "user" if n % 2 == 0 else "assistant", f"Question {n}?" if n % 2 == 0 else REPLY, model="Tiny")
        for n in range(count)
    ]


def test_only_what_is_in_sight_are_widgets(transcript: Transcript, qtbot: Any) -> None:
    transcript.set_turns(conversation(500))
    assert transcript.view_of(499) is not None
    assert transcript.view_of(0) is None
    assert len(transcript._views) < 30
    bar = transcript.verticalScrollBar()
    bar.setValue(0)
    qtbot.waitUntil(lambda: transcript.view_of(0) is not None)
    assert transcript.view_of(0).y() >= 0
    assert transcript.view_of(499) is None
    assert not transcript.at_end


def test_every_message_can_be_scrolled_to_without_a_gap(transcript: Transcript) -> None:
    transcript.set_turns(conversation(60))
    bar = transcript.verticalScrollBar()
    bar.setValue(0)
    seen: set[int] = set()
    for _ in range(400):
        views = sorted(transcript._views.items())
        for (_, one), (_, other) in pairwise(views):
            assert 0 <= other.y() - (one.y() + one.height()) <= 12
        seen |= {
            number
            for number, view in views
            if view.y() < transcript.viewport().height() and view.geometry().bottom() > 0
        }
        if bar.value() >= bar.maximum():
            break
        bar.setValue(bar.value() + 150)
    assert seen == set(range(60))
    assert transcript.at_end


def test_the_end_is_followed_only_by_a_reader_who_is_there(transcript: Transcript) -> None:
    turns = conversation(20)
    transcript.set_turns([*turns, Turn("new", "assistant", "", state=WRITING)])
    bar = transcript.verticalScrollBar()
    assert transcript.at_end
    transcript.update_turn(Turn("new", "assistant", "word\n" * 30, state=WRITING))
    assert bar.value() == bar.maximum()
    bar.setValue(bar.value() - 300)
    top = transcript._anchor
    place = {number: view.y() for number, view in transcript._views.items()}
    transcript.update_turn(Turn("new", "assistant", "word\n" * 60, state=WRITING))
    assert transcript._anchor == top
    assert all(view.y() == place[number] for number, view in transcript._views.items() if number in place)
    assert not transcript.end_button.isHidden()
    transcript.end_button.click()
    assert bar.value() == bar.maximum()
    assert transcript.end_button.isHidden()


def test_a_batch_of_a_reply_is_handled_quickly(transcript: Transcript, qtbot: Any) -> None:
    turns = conversation(500)
    transcript.set_turns([*turns, Turn("new", "assistant", "", state=WRITING)])
    words = ("word ", "**bold** ", "and `code`, ", "so on. ")
    text, times = "", []
    for batch in range(60):
        text += "".join(words[(batch + n) % 4] for n in range(6)) + ("\n\n" if batch % 15 == 14 else "")
        start = time.thread_time()
        transcript.update_turn(Turn("new", "assistant", text, state=WRITING))
        times.append(time.thread_time() - start)
    assert statistics.median(times) < 0.008


def test_what_is_selected_stays_selected_while_a_reply_grows(transcript: Transcript) -> None:
    transcript.set_turns([Turn(0, "assistant", "One two three", state=WRITING)])
    part = transcript.view_of(0).body.widgets[0]
    cursor = part.textCursor()
    cursor.setPosition(4)
    cursor.setPosition(7, cursor.MoveMode.KeepAnchor)
    part.setTextCursor(cursor)
    transcript.update_turn(Turn(0, "assistant", "One two three four\n\n- five", state=WRITING))
    assert part.textCursor().selectedText() == "two"


def test_code_has_its_colours_and_its_copy_button(transcript: Transcript, qtbot: Any) -> None:
    transcript.set_turns([Turn(0, "assistant", REPLY)])
    code = next(part for part in transcript.view_of(0).body.widgets if isinstance(part, CodePart))
    qtbot.mouseClick(code.copy_button, Qt.MouseButton.LeftButton)
    assert QGuiApplication.clipboard().text() == "x = 1"
    pytest.importorskip("pygments")
    qtbot.waitUntil(lambda: bool(code._highlighter._spans))
    assert code.edit.document().firstBlock().layout().formats()


def test_links_are_told_and_never_followed(transcript: Transcript, qtbot: Any) -> None:
    transcript.set_turns([Turn(0, "assistant", "[here](https://192.0.2.1/x) ![p](file:///etc/passwd)")])
    part = transcript.view_of(0).body.widgets[0]
    place = part.cursorRect(_cursor_at(part, 1)).center()
    with qtbot.waitSignal(transcript.link_clicked) as told:
        qtbot.mouseClick(part.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert told.args == ["https://192.0.2.1/x"]
    assert part.toPlainText() == "here p"


def _cursor_at(edit: Any, position: int) -> Any:
    cursor = edit.textCursor()
    cursor.setPosition(position)
    return cursor


def test_a_reply_can_be_copied_written_again_and_deleted(transcript: Transcript, qtbot: Any) -> None:
    transcript.set_turns([Turn(0, "user", "Hello"), Turn(1, "assistant", "Hi", state=STOPPED)])
    said: list[tuple[Any, str]] = []
    transcript.action.connect(lambda key, name: said.append((key, name)))
    view = transcript.view_of(1)
    assert view.actions_shown
    for name in ("copy", "again", "continue", "delete"):
        assert not view.button(name).isHidden()
        view.button(name).click()
    assert said == [(1, name) for name in ("copy", "again", "continue", "delete")]
    assert view.button("edit").isHidden()
    assert not transcript.view_of(0).button("edit").isHidden()
    assert "Stopped" in view.foot.text()


def test_older_messages_show_their_actions_to_pointer_and_keyboard(transcript: Transcript, qtbot: Any) -> None:
    transcript.set_turns(conversation(4))
    view = transcript.view_of(1)
    assert not view.actions_shown
    transcript.viewport().setFocus()
    view.setFocus(Qt.FocusReason.TabFocusReason)
    qtbot.waitUntil(lambda: view.actions_shown)
    QTest.keyClick(view, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert QGuiApplication.clipboard().text() == REPLY


def test_versions_of_a_message_are_switched(transcript: Transcript, qtbot: Any) -> None:
    transcript.set_turns([Turn(0, "assistant", "Hi", branch=(2, 3)), Turn(1, "assistant", "Ho")])
    switch = transcript.view_of(0).branches
    assert switch.label.text() == "2 / 3"
    for button, number in ((switch.back_button, 1), (switch.next_button, 3)):
        with qtbot.waitSignal(transcript.branch_chosen) as chosen:
            button.click()
        assert chosen.args == [0, number]
    assert transcript.view_of(1).branches is None


def test_a_question_is_edited_in_its_place(transcript: Transcript, qtbot: Any) -> None:
    transcript.set_turns([Turn(0, "user", "What?"), Turn(1, "assistant", "That.")])
    view = transcript.view_of(0)
    view.start_editing()
    qtbot.waitUntil(lambda: view.editor is not None and view.editor.geometry().height() > 20)
    QTest.keyClick(view.editor, Qt.Key.Key_Escape)
    assert view.editor is None
    view.start_editing()
    view.editor.setPlainText("Why?")
    with qtbot.waitSignal(transcript.edited) as edited:
        QTest.keyClick(view.editor, Qt.Key.Key_Return)
    assert edited.args == [0, "Why?"]
    assert view.editor is None


def test_a_failed_reply_says_why_and_can_be_retried(transcript: Transcript, qtbot: Any) -> None:
    transcript.set_turns([Turn(0, "assistant", "Half a", state=FAILED, problem="The disk is full.")])
    view = transcript.view_of(0)
    assert view.notice.text() == "The disk is full."
    with qtbot.waitSignal(transcript.action) as asked:
        view.retry_button.click()
    assert asked.args == [0, "retry"]
    transcript.update_turn(Turn(0, "assistant", "Whole"))
    assert view.retry_button.isHidden()
    assert view.notice.isHidden()


def test_the_keyboard_scrolls_and_walks_through_the_messages(transcript: Transcript, qtbot: Any) -> None:
    transcript.set_turns(conversation(60))
    bar = transcript.verticalScrollBar()
    QTest.keyClick(transcript, Qt.Key.Key_PageUp)
    assert bar.value() < bar.maximum()
    QTest.keyClick(transcript, Qt.Key.Key_Home)
    assert bar.value() == 0
    QTest.keyClick(transcript, Qt.Key.Key_End)
    assert bar.value() == bar.maximum()
    transcript.setFocus()
    visited = set()
    for _ in range(12):
        QTest.keyClick(QApplication.focusWidget(), Qt.Key.Key_Tab)
        visited.add(QApplication.focusWidget())
    assert len(visited) > 3


def test_a_new_font_and_other_colours_are_taken(transcript: Transcript, qtbot: Any) -> None:
    from lmstudio_app.gui.theme import build_palette

    transcript.set_turns([Turn(0, "user", "x"), Turn(1, "assistant", REPLY)])
    view = transcript.view_of(1)
    before = view.height()
    app = QApplication.instance()
    font, palette = app.font(), app.palette()
    larger = app.font()
    larger.setPointSizeF(font.pointSizeF() * 1.6)
    try:
        app.setFont(larger)
        app.setPalette(build_palette(dark=True))
        qtbot.waitUntil(lambda: view.height() > before * 1.2)
    finally:
        app.setFont(font)
        app.setPalette(palette)
    qtbot.waitUntil(lambda: abs(view.height() - before) <= 2)


def test_the_speed_of_a_reply_is_told() -> None:
    assert speed_text(Turn(0, "assistant", "x")) == ""
    text = speed_text(Turn(0, "assistant", "x", tokens=101, seconds=1.5, first=0.5))
    assert "101 tokens in 1.5 s" in text
    assert "100 tokens/s" in text
    assert "0.50 s" in text
    assert "20.0 tokens/s" in speed_text(Turn(0, "assistant", "x", tokens=20, seconds=1.0, state=CUT))


def test_what_is_searched_for_is_marked_in_any_case() -> None:
    assert highlighted("A Model reads models", ["model"]) == [
        ("A ", False), ("Model", True), (" reads ", False), ("model", True), ("s", False),
    ]  # fmt: skip
    assert highlighted("a.b", ["."]) == [("a", False), (".", True), ("b", False)]
    assert highlighted("plain", []) == [("plain", False)]


def test_sampling_rescales_a_distribution(qtbot: Any) -> None:
    given = [0.5, 0.3, 0.2]
    assert resampled(given, 1.0) == pytest.approx(given)
    assert resampled(given, 0.0) == [1.0, 0.0, 0.0]
    assert resampled(given, 0.5) == pytest.approx([0.25 / 0.38, 0.09 / 0.38, 0.04 / 0.38])
    assert resampled(given, 1.0, top_k=2) == pytest.approx([0.625, 0.375, 0.0])
    assert resampled(given, 1.0, top_p=0.5) == pytest.approx([1.0, 0.0, 0.0])
    assert resampled(given, 1.0, top_p=0.6) == pytest.approx([0.625, 0.375, 0.0])
    picture = DistributionPicture()
    qtbot.addWidget(picture)
    picture.set_sampling(0.0, 0, 1.0)
    picture.set_candidates(["a", "b"], [0.6, 0.2])
    assert picture.drawn == [1.0, 0.0]
    assert "a 100.0 %" in picture.accessibleName()
