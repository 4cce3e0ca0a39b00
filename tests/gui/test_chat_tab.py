"""The Chat page with a tiny model of random weights, which answers with random letters."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QFileDialog

from lmstudio_app.chat import conversation_database
from lmstudio_app.chat.conversations import Conversations, conversations_file
from lmstudio_app.gui.tabs.chat import ChatTab, file_name
from lmstudio_app.gui.widgets.chat_turn import CUT, FAILED, STOPPED, WHOLE
from tests.tiny_chat import build_chat


@pytest.fixture(scope="session")
def chat_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_chat(tmp_path_factory.mktemp("chat-model") / "tiny-chat")


@pytest.fixture
def model_folder(chat_folder: Path, app_home: Path) -> Path:
    """On this disk, where the page finds it."""
    return Path(shutil.copytree(chat_folder, app_home / "models" / "tiny-chat"))


@pytest.fixture
def make_tab(qtbot: Any, services: Any, model_folder: Path, one_thread: None) -> Iterator[Callable[[], ChatTab]]:
    made: list[ChatTab] = []

    def _make() -> ChatTab:
        tab = ChatTab(services)
        made.append(tab)
        qtbot.addWidget(tab)
        tab.resize(1200, 760)
        tab.show()
        qtbot.waitUntil(lambda: tab.page.loaded is not None, timeout=20_000)
        return tab

    yield _make
    for tab in made:
        tab.shutdown()
    for runner in services.runners():
        runner.cancel_all()
    qtbot.waitUntil(lambda: not any(runner.busy for runner in services.runners()))


@pytest.fixture
def tab(make_tab: Callable[[], ChatTab]) -> ChatTab:
    return make_tab()


def set_options(tab: ChatTab, **values: Any) -> None:
    tab.settings_panel.set_all(tab.settings_panel.system_text, {**tab.settings_panel.values(), **values})


def ask(qtbot: Any, tab: ChatTab, text: str, *, tokens: int = 12, wait: bool = True) -> None:
    """Type and send; ``wait`` for the whole reply."""
    set_options(tab, max_new_tokens=tokens)
    tab.pane.input.draft.setFocus()
    before = len(tab.session.path)
    QTest.keyClicks(tab.pane.input.draft, text)
    QTest.keyClick(tab.pane.input.draft, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: len(tab.session.path) == before + 2)
    if wait:
        settle(qtbot, tab)


def settle(qtbot: Any, tab: ChatTab) -> None:
    qtbot.waitUntil(lambda: not tab.session.busy, timeout=20_000)
    qtbot.waitUntil(lambda: not tab._services.query_runner.busy, timeout=20_000)


def slow_down(tab: ChatTab, seconds: float = 0.02) -> Any:
    """Let the model take its time for every token; the hook's handle."""
    return tab.page.loaded.model.model.layers[0].register_forward_pre_hook(lambda *_: time.sleep(seconds))


def test_a_question_is_answered_and_kept(tab: ChatTab, qtbot: Any) -> None:
    assert tab.pane.stack.currentWidget() is tab.pane.blank
    qtbot.waitUntil(lambda: bool(tab.pane.samples.buttons))
    ask(qtbot, tab, "hello")
    question, reply = tab.session.path
    assert (question.text, question.role) == ("hello", "user")
    assert reply.role == "assistant"
    assert reply.state in (WHOLE, CUT)
    assert reply.text
    view = tab.pane.transcript.view_of(reply.key)
    assert view.body.text.strip() == reply.text
    assert "tokens/s" in view.foot.text()
    assert tab.pane.input.text == ""
    with Conversations() as store:
        (chat,) = store.all()
        assert [message.content for message in store.branch(chat.id)] == ["hello", reply.text]
        assert store.pieces(reply.key)
    qtbot.waitUntil(lambda: [entry.title for entry in tab.panel.list.entries] == ["hello"])


def test_a_sample_is_one_click_away(tab: ChatTab, qtbot: Any) -> None:
    qtbot.waitUntil(lambda: bool(tab.pane.samples.buttons))
    set_options(tab, max_new_tokens=5)
    tab.pane.samples.buttons[0].click()
    qtbot.waitUntil(lambda: len(tab.session.path) == 2)
    settle(qtbot, tab)
    assert tab.session.path[0].text == "What is a language model?"


def test_stop_ends_a_reply_within_200_ms_and_keeps_it(tab: ChatTab, qtbot: Any) -> None:
    hook = slow_down(tab)
    ask(qtbot, tab, "go on", tokens=400, wait=False)
    qtbot.waitUntil(lambda: len(tab.session._writing.text) > 3)
    assert not tab.pane.input.stop_button.isHidden()
    assert tab.pane.input.send_button.isHidden()
    start = time.monotonic()
    QTest.keyClick(tab.pane.input.draft, Qt.Key.Key_Escape)
    qtbot.waitUntil(lambda: not tab.session.is_writing)
    assert time.monotonic() - start < 0.2
    hook.remove()
    settle(qtbot, tab)
    reply = tab.session.path[-1]
    assert reply.state == STOPPED
    assert len(reply.text) > 3
    with Conversations() as store:
        assert store.message(reply.key).content == reply.text
        assert store.message(reply.key).ending == "stopped"


def test_a_stopped_reply_goes_on_where_it_ended(tab: ChatTab, qtbot: Any) -> None:
    ask(qtbot, tab, "go on", tokens=4)
    reply = tab.session.path[-1]
    assert reply.state == CUT
    view = tab.pane.transcript.view_of(reply.key)
    assert "Cut off" in view.foot.text()
    view.button("continue").click()
    qtbot.waitUntil(lambda: tab.session.is_writing)
    settle(qtbot, tab)
    longer = tab.session.path[-1]
    assert longer.key == reply.key
    assert longer.text.startswith(reply.text)
    assert longer.tokens > reply.tokens
    assert len(longer.pieces) == longer.tokens


def test_a_reply_is_written_again_beside_the_first_one(tab: ChatTab, qtbot: Any) -> None:
    set_options(tab, temperature=2.0, top_k=0, top_p=1.0)
    ask(qtbot, tab, "hello", tokens=20)
    first = tab.session.path[-1]
    tab.pane.transcript.view_of(first.key).button("again").click()
    qtbot.waitUntil(lambda: tab.session.is_writing)
    settle(qtbot, tab)
    second = tab.session.path[-1]
    assert second.key != first.key
    assert second.branch == (2, 2)
    assert second.text != first.text  # other numbers are drawn
    switch = tab.pane.transcript.view_of(second.key).branches
    switch.back_button.click()
    qtbot.waitUntil(lambda: tab.session.path[-1].key == first.key)
    assert tab.session.path[-1].branch == (1, 2)
    settle(qtbot, tab)


def test_at_temperature_0_it_says_why_nothing_changes(tab: ChatTab, qtbot: Any) -> None:
    set_options(tab, temperature=0.0)
    ask(qtbot, tab, "hello", tokens=5)
    with qtbot.waitSignal(tab.session.wrote, timeout=20_000):
        tab.session.again(tab.session.path[-1].key)
    settle(qtbot, tab)
    assert "temperature 0" in tab.pane.notice.text()


def test_up_edits_the_last_question_as_another_branch(tab: ChatTab, qtbot: Any) -> None:
    ask(qtbot, tab, "first", tokens=4)
    QTest.keyClick(tab.pane.input.draft, Qt.Key.Key_Up)
    view = tab.pane.transcript.view_of(tab.session.path[0].key)
    assert view.editor.toPlainText() == "first"
    view.editor.setPlainText("second")
    QTest.keyClick(view.editor, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: bool(tab.session.path) and tab.session.path[0].text == "second")
    settle(qtbot, tab)
    assert tab.session.path[0].branch == (2, 2)
    tab.session.choose_branch(tab.session.path[0].key, 1)
    settle(qtbot, tab)
    assert tab.session.path[0].text == "first"
    assert len(tab.session.path) == 2


def test_shift_enter_begins_a_line(tab: ChatTab, qtbot: Any) -> None:
    before = tab.pane.input.draft.height()
    QTest.keyClicks(tab.pane.input.draft, "a")
    QTest.keyClick(tab.pane.input.draft, Qt.Key.Key_Return, Qt.KeyboardModifier.ShiftModifier)
    QTest.keyClicks(tab.pane.input.draft, "b")
    assert tab.pane.input.text == "a\nb"
    assert tab.pane.input.draft.height() > before
    assert tab.session.path == []


def test_a_deleted_message_can_be_brought_back(tab: ChatTab, qtbot: Any) -> None:
    ask(qtbot, tab, "one", tokens=4)
    ask(qtbot, tab, "two", tokens=4)
    keys = [said.key for said in tab.session.path]
    tab.pane.transcript.view_of(keys[2]).button("delete").click()
    qtbot.waitUntil(lambda: len(tab.session.path) == 2)
    settle(qtbot, tab)
    assert not tab.pane.undo.isHidden()
    tab.pane.undo.button.click()
    qtbot.waitUntil(lambda: len(tab.session.path) == 4)
    settle(qtbot, tab)
    assert [said.key for said in tab.session.path] == keys
    tab.session.delete_message(keys[2])
    qtbot.waitUntil(lambda: not tab.pane.undo.isHidden())
    tab.pane.undo.close_bar()
    settle(qtbot, tab)
    with Conversations() as store:
        assert [message.id for message in store.messages(tab.session.chat.key)] == keys[:2]


def test_conversations_are_found_renamed_deleted_and_brought_back(tab: ChatTab, qtbot: Any) -> None:
    for text in ("about apples", "about pears"):
        ask(qtbot, tab, text, tokens=4)
        tab.panel.new_button.click()
    listed = tab.panel.list
    qtbot.waitUntil(lambda: [entry.title for entry in listed.entries] == ["about pears", "about apples"])
    QTest.keyClicks(tab.panel.search, "APPLES")
    qtbot.waitUntil(lambda: [entry.title for entry in listed.entries] == ["about apples"])
    assert listed.entries[0].found == "about apples"
    QTest.keyClick(listed, Qt.Key.Key_Home)
    listed.setCurrentRow(1)
    QTest.keyClick(listed, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: [said.text for said in tab.session.path][:1] == ["about apples"])
    settle(qtbot, tab)
    tab.panel.search.clear()
    qtbot.waitUntil(lambda: len(listed.entries) == 2)
    tab.library.rename(tab.session.chat.key, "Fruit")
    qtbot.waitUntil(lambda: "Fruit" in [entry.title for entry in listed.entries])
    assert tab.pane.title.text() == "Fruit"
    listed.set_current(tab.session.chat.key)
    QTest.keyClick(listed, Qt.Key.Key_Delete)
    qtbot.waitUntil(lambda: [entry.title for entry in listed.entries] == ["about pears"])
    assert tab.session.chat is None
    tab.pane.undo.button.click()
    qtbot.waitUntil(lambda: len(listed.entries) == 2 and tab.session.chat is not None)
    settle(qtbot, tab)
    assert tab.pane.title.text() == "Fruit"


def test_ctrl_l_begins_a_new_conversation(tab: ChatTab, qtbot: Any) -> None:
    ask(qtbot, tab, "hello", tokens=4)
    tab.pane.input.draft.setFocus()
    QTest.keyClick(tab.pane.input.draft, Qt.Key.Key_L, Qt.KeyboardModifier.ControlModifier)
    assert tab.session.path == []
    assert tab.pane.stack.currentWidget() is tab.pane.blank


def test_all_comes_back_after_a_restart(make_tab: Callable[[], ChatTab], qtbot: Any) -> None:
    tab = make_tab()
    set_options(tab, temperature=1.3)
    tab.settings_panel.system.setPlainText("Be brief.")
    qtbot.waitUntil(lambda: tab._settings.get("chat.options", {}).get("system") == "Be brief.")
    ask(qtbot, tab, "hello", tokens=4)
    hook = slow_down(tab)
    ask(qtbot, tab, "and more", tokens=400, wait=False)
    qtbot.waitUntil(lambda: len(tab.session._writing.text) > 5)
    tab.pane.input.set_text("not yet sent")
    shown = [(said.key, said.text) for said in tab.session.path[:-1]]
    tab.shutdown()  # the window is closed in the middle of the reply
    hook.remove()
    half = tab.session._writing.text.strip()
    qtbot.waitUntil(lambda: not tab._services.answer_runner.busy)
    again = make_tab()
    qtbot.waitUntil(lambda: len(again.session.path) == 4)
    settle(qtbot, again)
    assert [(said.key, said.text) for said in again.session.path[:-1]] == shown
    assert again.session.path[-1].text == half
    assert again.session.path[-1].state == STOPPED
    assert again.pane.input.text == "not yet sent"
    assert again.settings_panel.system_text == "Be brief."


def test_a_killed_app_loses_a_second_of_the_reply_at_most(tab: ChatTab, qtbot: Any) -> None:
    hook = slow_down(tab, 0.05)
    ask(qtbot, tab, "hello", tokens=400, wait=False)
    key = tab.session.path[-1].key

    def _kept() -> str:
        with Conversations() as store:
            return store.message(key).content

    qtbot.waitUntil(lambda: bool(_kept()), timeout=10_000)
    assert tab.session._writing.text.strip().startswith(_kept())
    tab.session.stop()
    hook.remove()
    settle(qtbot, tab)


def test_how_sure_it_was_and_another_token(tab: ChatTab, qtbot: Any) -> None:
    ask(qtbot, tab, "hello", tokens=8)
    reply = tab.session.path[-1]
    tab.pane.sure_box.setChecked(True)
    view = tab.pane.transcript.view_of(reply.key)
    assert view.tokens is not None
    assert view.tokens.toPlainText().strip() == reply.text
    view.tokens.setFocus()
    for _ in range(3):
        QTest.keyClick(view.tokens, Qt.Key.Key_Right)
    popup = view.tokens.popup
    assert popup.isVisible()
    assert len(popup.list.rows) == 10
    number = view.tokens._current
    candidates = reply.pieces[number].candidates
    row = next(
        n for n, item in enumerate(candidates) if item.token != reply.pieces[number].text and item.token.isalpha()
    )
    QTest.keyClick(view.tokens, Qt.Key.Key_Down)
    popup.list.setCurrentRow(row)
    QTest.keyClick(popup.list, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: tab.session.path[-1].key != reply.key)
    settle(qtbot, tab)
    other = tab.session.path[-1]
    begin = "".join(piece.text for piece in reply.pieces[:number]) + candidates[row].token
    assert other.branch == (2, 2)
    assert "".join(piece.text for piece in other.pieces).startswith(begin)
    tab.pane.sure_box.setChecked(False)
    assert tab.pane.transcript.view_of(other.key).tokens is None


def test_tokens_of_old_replies_are_read_when_they_are_wanted(make_tab: Callable[[], ChatTab], qtbot: Any) -> None:
    tab = make_tab()
    ask(qtbot, tab, "hello", tokens=8)
    pieces = tab.session.path[-1].pieces
    tab.shutdown()
    again = make_tab()
    qtbot.waitUntil(lambda: len(again.session.path) == 2)
    assert not again.session.path[-1].pieces
    again.pane.sure_box.setChecked(True)
    qtbot.waitUntil(lambda: bool(again.session.path[-1].pieces))
    assert [piece.text for piece in again.session.path[-1].pieces] == [piece.text for piece in pieces]
    settle(qtbot, again)


def test_tokens_are_counted_against_the_window(tab: ChatTab, qtbot: Any) -> None:
    bar = tab.pane.input.context
    qtbot.waitUntil(lambda: "of" in bar.words.text(), timeout=10_000)
    assert bar._limit == 2048
    tab.pane.input.set_text("hello")
    qtbot.waitUntil(lambda: bar._draft > 5, timeout=10_000)
    ask(qtbot, tab, "x" * 1500, tokens=4)
    qtbot.waitUntil(lambda: bar._said > 1500, timeout=10_000)
    ask(qtbot, tab, "y" * 1500, tokens=4)
    qtbot.waitUntil(lambda: "left out" in bar.words.text() and bar._said > 2048, timeout=10_000)
    first = tab.pane.transcript.turns[0]
    assert first.left_out
    assert not tab.pane.transcript.turns[2].left_out


def test_presets_are_chosen_kept_and_deleted(tab: ChatTab, qtbot: Any) -> None:
    panel = tab.settings_panel
    qtbot.waitUntil(lambda: panel.presets.count() >= 3)
    assert panel.presets.currentData() == "Balanced"
    panel.presets.setCurrentIndex(panel.presets.findData("Precise"))
    panel.presets.activated.emit(panel.presets.currentIndex())
    assert panel.options().temperature == 0.0
    assert panel.picture.drawn[0] == 1.0
    assert not panel.delete_button.isEnabled()
    panel.form.editor("sampling.temperature").set_value(1.7)
    assert panel.presets.currentIndex() == -1
    panel.save_button.click()
    panel._naming.setTextValue("Wild")
    panel._naming.accept()
    qtbot.waitUntil(lambda: panel.presets.currentData() == "Wild")
    assert panel.delete_button.isEnabled()
    tab.presets.choose("Precise")
    tab.presets.choose("Wild")
    assert panel.options().temperature == 1.7
    panel.delete_button.click()
    qtbot.waitUntil(lambda: panel.presets.findData("Wild") == -1)


def test_a_conversation_is_copied_and_exported(
    tab: ChatTab, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(qtbot, tab, "hello", tokens=4)
    reply = tab.session.path[-1].text
    tab.pane.copy_button.click()
    qtbot.waitUntil(lambda: QGuiApplication.clipboard().text().startswith("# hello"))
    assert reply in QGuiApplication.clipboard().text()
    tab.pane.export_button.click()
    qtbot.waitUntil(lambda: bool(tab.findChildren(QFileDialog)))
    dialog = tab.findChildren(QFileDialog)[0]
    target = tmp_path / "chat.jsonl"
    dialog.fileSelected.emit(str(target))
    dialog.close()
    qtbot.waitUntil(target.exists)
    assert json.loads(target.read_text())["messages"][1]["content"] == reply
    assert file_name('a/b: "c"?') == "a b c"


def test_a_link_is_asked_for_before_it_is_opened(tab: ChatTab, qtbot: Any) -> None:
    tab.pane.transcript.link_clicked.emit("https://192.0.2.1/")
    assert "192.0.2.1" in tab.link_question.informativeText()
    tab.link_question.no_button.click()
    tab.pane.transcript.link_clicked.emit("file:///etc/passwd")
    assert "not opened" in tab.pane.notice.text()


# --- two models


def test_two_models_answer_side_by_side(tab: ChatTab, qtbot: Any, chat_folder: Path, app_home: Path) -> None:
    shutil.copytree(chat_folder, app_home / "models" / "other-chat")
    set_options(tab, max_new_tokens=6)
    tab.modes.setCurrentIndex(1)
    compare = tab.compare
    qtbot.waitUntil(lambda: compare.columns[1].loaded is not None, timeout=20_000)
    assert compare.columns[0].loaded is not compare.columns[1].loaded
    compare.input.set_text("hello")
    QTest.keyClick(compare.input.draft, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: compare.busy)
    qtbot.waitUntil(lambda: not compare.busy, timeout=20_000)
    replies = [column.turns[-1] for column in compare.columns]
    assert replies[0].text == replies[1].text  # the same weights and the same draw
    assert all(reply.tokens and reply.seconds > 0 for reply in replies)
    hook = compare.columns[0].loaded.model.model.layers[0].register_forward_pre_hook(lambda *_: time.sleep(0.02))
    set_options(tab, max_new_tokens=400)
    compare.send("more")
    qtbot.waitUntil(lambda: bool(compare.columns[0].turns[-1].text))
    compare.stop()
    qtbot.waitUntil(lambda: not compare.busy)
    hook.remove()
    assert [column.turns[-1].state for column in compare.columns] == [STOPPED, STOPPED]
    compare.over_button.click()
    assert not compare.columns[0].turns


def test_a_lone_model_says_what_is_missing(tab: ChatTab, qtbot: Any) -> None:
    tab.modes.setCurrentIndex(1)
    qtbot.waitUntil(lambda: tab.compare.picker.has_problem)
    assert not tab.compare.input.send_button.isEnabled()


def test_a_model_is_not_compared_with_itself_after_a_restart(
    make_tab: Callable[[], ChatTab], qtbot: Any, chat_folder: Path, app_home: Path
) -> None:
    shutil.copytree(chat_folder, app_home / "models" / "other-chat")
    first = make_tab()
    first.modes.setCurrentIndex(1)
    qtbot.waitUntil(lambda: first.compare.columns[1].loaded is not None, timeout=20_000)
    again = make_tab()  # begins with the comparison, before its own model is there
    assert again.mode == "compare"
    qtbot.waitUntil(lambda: again.compare.columns[1].loaded is not None, timeout=20_000)
    assert again.compare.columns[1].loaded.reference != again.page.reference


# --- what can go wrong


def test_a_model_that_fails_in_the_middle_says_so_and_is_asked_again(tab: ChatTab, qtbot: Any) -> None:
    calls = [0]

    def _fail(*_: Any) -> None:
        calls[0] += 1
        if calls[0] > 5:
            raise RuntimeError("the weights are gone")

    hook = tab.page.loaded.model.model.layers[0].register_forward_pre_hook(_fail)
    ask(qtbot, tab, "go on", tokens=40)
    hook.remove()
    reply = tab.session.path[-1]
    assert reply.state == FAILED
    assert reply.text  # what was there stays
    view = tab.pane.transcript.view_of(reply.key)
    assert "the weights are gone" in view.notice.text()
    view.retry_button.click()
    qtbot.waitUntil(lambda: tab.session.is_writing)
    settle(qtbot, tab)
    assert tab.session.path[-1].state in (WHOLE, CUT)
    assert tab.session.path[-1].key == reply.key
    assert view.notice.isHidden()


def test_a_locked_store_keeps_the_question_and_tries_again(
    tab: ChatTab, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(qtbot, tab, "hello", tokens=4)
    monkeypatch.setattr(conversation_database, "_BUSY", 0.1)
    tab.store.close()
    other = sqlite3.connect(conversations_file(), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    tab.pane.input.set_text("once more")
    QTest.keyClick(tab.pane.input.draft, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: bool(tab.pane.notice.text()), timeout=10_000)
    assert "locked" in tab.pane.notice.text()
    assert not tab.pane.retry_button.isHidden()
    assert len(tab.session.path) == 2
    other.execute("ROLLBACK")
    other.close()
    tab.pane.retry_button.click()
    qtbot.waitUntil(lambda: len(tab.session.path) == 4)
    settle(qtbot, tab)
    assert tab.pane.notice.text() == ""
    assert tab.session.path[2].text == "once more"


def test_a_damaged_store_is_told_and_left_alone(make_tab: Callable[[], ChatTab], qtbot: Any) -> None:
    file = conversations_file()
    file.parent.mkdir(parents=True)
    file.write_bytes(b"this is no database, but a text that is long enough to be read as a page" * 100)
    before = file.read_bytes()
    tab = make_tab()
    qtbot.waitUntil(lambda: "damaged" in tab.pane.notice.text())
    tab.session.send("hello")
    qtbot.waitUntil(lambda: not tab.session.busy)
    assert tab.session.path == []
    assert file.read_bytes() == before
    file.unlink()
    tab.pane.retry_button.click()
    qtbot.waitUntil(lambda: len(tab.session.path) == 2)
    settle(qtbot, tab)


def test_a_model_without_a_turn_to_give_is_told(tab: ChatTab, qtbot: Any) -> None:
    tab.page.loaded.tokenizer.chat_template = "{{ raise_exception('no chats here') }}"
    ask(qtbot, tab, "hello")
    view = tab.pane.transcript.view_of(tab.session.path[-1].key)
    assert "no chats here" in view.notice.text()
    assert not view.retry_button.isHidden()


def test_no_model_offers_the_starter(qtbot: Any, services: Any) -> None:
    tab = ChatTab(services)
    qtbot.addWidget(tab, before_close_func=lambda widget: widget.shutdown())
    tab.show()
    qtbot.waitUntil(lambda: bool(tab.page.empty.buttons))
    with qtbot.waitSignal(tab.starter_requested):
        tab.page.empty.buttons[0].click()
    qtbot.waitUntil(lambda: not any(runner.busy for runner in services.runners()))


# --- the real one


def test_the_starter_model_chats(qtbot: Any, services: Any, starter_chat: Path) -> None:
    tab = ChatTab(services)
    qtbot.addWidget(tab, before_close_func=lambda widget: widget.shutdown())
    tab.resize(1200, 760)
    tab.show()
    tab.use_model(str(starter_chat))
    qtbot.waitUntil(lambda: tab.page.loaded is not None, timeout=60_000)
    set_options(tab, temperature=0.0)
    ask(qtbot, tab, "What is the capital of France?", tokens=30)
    reply = tab.session.path[-1]
    assert "Paris" in reply.text
    assert reply.state in (WHOLE, CUT)
    assert reply.pieces[0].candidates
    ask(qtbot, tab, "Write a long story about a fox.", tokens=400, wait=False)
    qtbot.waitUntil(lambda: len(tab.session._writing.text) > 20, timeout=20_000)
    start = time.monotonic()
    QTest.keyClick(tab.pane.input.draft, Qt.Key.Key_Escape)
    qtbot.waitUntil(lambda: not tab.session.is_writing)
    assert time.monotonic() - start < 0.2
    settle(qtbot, tab)
    assert tab.session.path[-1].state == STOPPED
    tab.session.go_on(tab.session.path[-1].key)
    qtbot.waitUntil(lambda: tab.session.is_writing and len(tab.session._writing.text) > 100, timeout=20_000)
    tab.session.stop()
    settle(qtbot, tab)
