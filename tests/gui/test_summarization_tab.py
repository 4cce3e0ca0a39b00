"""The Summarise page, driven as a person drives it, on tiny models with random weights."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QMimeData, QPoint, Qt, QUrl
from PySide6.QtGui import QGuiApplication, QTextCursor
from PySide6.QtWidgets import QFileDialog

from lmstudio_app.gui.widgets.summary_text import DOUBTFUL, STRONG, WEAK, SentenceText, SpanMark
from lmstudio_app.settings import models_folder
from lmstudio_app.tasks.summary_support import Source, Support, Supported
from lmstudio_app.tasks.summary_writers import SummaryOptions
from tests.tiny_chat import build_chat
from tests.tiny_seq2seq import build_bart

SENTENCES = ("The cat sits on the mat.", "A dog runs in the park.", "The bird sings.", "We drink tea.")
TEXT = " ".join(SENTENCES) * 2
LONG = "\n\n".join(" ".join(SENTENCES[(row + shift) % 4] for shift in range(4)) for row in range(12))


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_chat(tmp_path_factory.mktemp("models") / "chat")


@pytest.fixture
def make_tab(qtbot: Any, services: Any, one_thread: None) -> Callable[[Path], Any]:
    from lmstudio_app.gui.tabs.summarization import SummarizationTab

    def _make(model: Path) -> SummarizationTab:
        tab = SummarizationTab(services)
        qtbot.addWidget(tab, before_close_func=lambda widget: widget.shutdown())
        tab.resize(1130, 760)
        tab.show()
        tab.use_model(str(model))
        qtbot.waitUntil(lambda: tab.page.loaded is not None, timeout=30_000)
        tab.body.source.form.set_values({"options.max_new_tokens": 24, "options.beams": 1})
        settle(qtbot, services)
        return tab

    return _make


def settle(qtbot: Any, services: Any) -> None:
    qtbot.waitUntil(lambda: not any(runner.busy for runner in services.runners()), timeout=60_000)


@pytest.fixture
def tab(make_tab: Any, chat: Path) -> Any:
    return make_tab(chat)


def summarize(qtbot: Any, tab: Any, services: Any, text: str) -> str:
    """Type a text, press Ctrl+Enter, and wait for the summary with its sources."""
    tab.body.source.set_text(text)
    tab.body.source.edit.setFocus()
    qtbot.keyClick(tab.body.source.edit, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    assert tab.body.busy
    qtbot.waitUntil(lambda: not tab.body.busy, timeout=60_000)
    settle(qtbot, services)
    return str(tab.body.result.text.toPlainText())


def test_a_text_is_summarised(qtbot: Any, tab: Any, services: Any) -> None:
    bar = tab.body.bar
    assert not bar.run_button.isEnabled()  # there is no text yet
    assert not bar.copy_button.isEnabled()
    found = summarize(qtbot, tab, services, TEXT)
    assert found == tab.body.answer.summary.text != ""
    assert "tokens/s" in bar.time.text()
    assert tab.body.result.compression.text().startswith("From 36 to ")
    assert not tab.body.result.progress.isVisible()
    bar.copy_button.click()
    assert QGuiApplication.clipboard().text() == found
    assert tab.body.source.history.count() == 1
    # the encoder is not on this computer, which is said and does no harm
    assert "starter:encoder" in tab.body.result.meaning_note.text()
    assert tab.body.result.support.method == "words"


def test_a_short_text_stays_as_it_is(qtbot: Any, tab: Any, services: Any) -> None:
    tab.body.source.form.set_values({"options.max_new_tokens": 0})
    tab.body.source.set_text("We drink tea.")
    qtbot.waitUntil(lambda: "stays as it is" in tab.body.source.plan.text(), timeout=20_000)
    assert summarize(qtbot, tab, services, "We drink tea.") == "We drink tea."
    assert "stays as it is" in tab.body.result.notice.text()


def test_a_long_text_is_read_in_parts(qtbot: Any, tab: Any, services: Any) -> None:
    body = tab.body
    body.source.form.set_values({"options.part_tokens": 300})
    body.source.set_text(LONG)
    qtbot.waitUntil(lambda: "will be read in" in body.source.plan.text(), timeout=20_000)
    assert "216 words" in body.source.plan.text()
    stages: set[str] = set()
    body._asker.events.connect(lambda _: stages.add(body.result.stage.text()))
    summarize(qtbot, tab, services, LONG)
    parts = [part for part in body.answer.summary.parts if part.round == 0]
    qtbot.waitUntil(lambda: f"read in {len(parts)} parts" in body.source.plan.text(), timeout=20_000)
    assert body.result.parts.count() == len(parts) > 1
    assert body.result.folded.isVisible()
    assert any(stage.startswith("Reading ") for stage in stages)
    body.result.folded.set_open(True)
    qtbot.mouseClick(
        body.result.parts.viewport(),
        Qt.MouseButton.LeftButton,
        pos=body.result.parts.visualItemRect(body.result.parts.item(1)).center(),
    )
    chosen = body.source.edit.textCursor().selectedText().replace("\u2029", "\n")
    assert chosen == LONG[parts[1].start : parts[1].end]


def test_stop_ends_it_at_once_and_keeps_what_there_is(qtbot: Any, tab: Any, services: Any) -> None:
    body = tab.body
    body.source.form.set_values({"options.max_new_tokens": 1500, "options.min_new_tokens": 1500})
    body.source.set_text(TEXT)
    body.ask()
    qtbot.waitUntil(lambda: len(body.result.text.toPlainText()) > 20, timeout=30_000)
    start = time.perf_counter()
    body.bar.stop_button.click()
    assert not body.bar.stop_button.isEnabled()
    qtbot.waitUntil(lambda: not body.busy, timeout=5_000)
    assert time.perf_counter() - start < 0.2
    settle(qtbot, services)
    if body.answer is not None:  # it could end where it was
        assert "Stopped" in body.result.notice.text()
    else:
        assert body.bar.time.text() == "Stopped"
    assert len(body.result.text.toPlainText()) > 20


def test_pointing_at_a_sentence_marks_what_supports_it(qtbot: Any, tab: Any, services: Any) -> None:
    body = tab.body
    body.source.form.set_values({"options.max_new_tokens": 0})
    text = "We drink tea in the park. The bird sings."
    summarize(qtbot, tab, services, text)  # no longer than its summary, so it is the same
    answer = body.answer
    support = Support(
        "words",
        (
            Supported(0, 25, (Source(0, 25, 0.9),), 0.9, True),
            Supported(26, 41, (Source(26, 41, 0.2), Source(0, 25, 0.1)), 0.2, False, ("Anna",)),
        ),
    )
    import dataclasses

    body._answer = dataclasses.replace(answer, summary=dataclasses.replace(answer.summary, is_text=False))
    body._on_support(support)
    assert body.result.text.marks == (SpanMark(1, DOUBTFUL),)
    assert body.source.edit.marks == (SpanMark(0, WEAK), SpanMark(1, WEAK))
    assert "1 of 2 sentences" in body.result.notice.text()
    view = body.result.text
    cursor = QTextCursor(view.document())
    cursor.setPosition(30)
    qtbot.mouseMove(view.viewport(), view.cursorRect(cursor).center())
    qtbot.waitUntil(lambda: SpanMark(1, STRONG) in view.marks)
    assert body.source.edit.marks == (SpanMark(1, STRONG), SpanMark(0, STRONG))
    assert "Anna" in body.result.detail.text()
    qtbot.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=view.cursorRect(cursor).center())
    qtbot.mouseMove(view.viewport(), QPoint(view.width() // 2, view.height() - 30))
    assert SpanMark(1, STRONG) in view.marks  # it stays
    # the other way round
    cursor = QTextCursor(body.source.edit.document())
    cursor.setPosition(3)
    qtbot.mouseMove(body.source.edit.viewport(), body.source.edit.cursorRect(cursor).center())
    qtbot.waitUntil(lambda: SpanMark(0, STRONG) in view.marks)
    assert SpanMark(1, STRONG) in view.marks  # it cites this sentence, too
    # a changed text has no sources any more
    body.source.edit.insertPlainText("x")
    assert body.source.edit.marks == ()


def test_sentences_are_found_among_wide_characters(qtbot: Any) -> None:
    view = SentenceText("Text", "A text")
    qtbot.addWidget(view)
    view.resize(300, 80)
    view.show()
    text = "\U0001f600 one. " + "two " * 400 + ". 三。"
    view.show_text(text)
    spans = [(2, 6), (text.index("三"), len(text))]
    view.set_sentences(text, spans)
    assert [view.sentence(index) for index in (0, 1)] == ["one.", "三。"]
    assert view.index_at(4) == 0
    assert view.index_at(8) == -1
    assert view.verticalScrollBar().value() == 0
    view.scroll_to(1)
    assert view.verticalScrollBar().value() > 0
    view.show_text(text + " more")
    assert view.toPlainText() == text + " more"
    assert view.marks == ()


def test_files_are_opened_and_dropped(qtbot: Any, tab: Any, services: Any, tmp_path: Path) -> None:
    page, other = tmp_path / "page.html", tmp_path / "empty.txt"
    page.write_text("<html><body><p>We drink tea.</p><p>The bird sings.</p></body></html>")
    other.write_text(" ")
    tab.body.open_file(page)
    qtbot.waitUntil(lambda: tab.body.source.text() == "We drink tea.\n\nThe bird sings.", timeout=30_000)
    assert "page.html" in tab.body.bar.time.text()
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(other))])
    assert tab.body.source.edit.canInsertFromMimeData(data)
    tab.body.source.edit.insertFromMimeData(data)
    qtbot.waitUntil(lambda: "has no text" in tab.body.source.notice.text(), timeout=30_000)
    assert tab.body.source.text().startswith("We drink tea.")
    settle(qtbot, services)


def test_a_summary_is_saved_with_its_sources(
    qtbot: Any, tab: Any, services: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = summarize(qtbot, tab, services, TEXT)
    for suffix in (".txt", ".md", ".jsonl"):
        tab.body.bar.export_button.click()
        dialog = tab.body.findChild(QFileDialog)
        dialog.fileSelected.emit(str(tmp_path / f"kept{suffix}"))
        dialog.done(0)
        dialog.setParent(None)
        settle(qtbot, services)
    assert (tmp_path / "kept.txt").read_text(encoding="utf-8") == found + "\n"
    assert "## Sources" in (tmp_path / "kept.md").read_text(encoding="utf-8")
    row = json.loads((tmp_path / "kept.jsonl").read_text(encoding="utf-8"))
    assert (row["text"], row["source"], row["support"]["method"]) == (found, TEXT, "words")


def test_choices_are_kept(qtbot: Any, tab: Any, services: Any, make_tab: Any, chat: Path) -> None:
    source = tab.body.source
    source.length.setCurrentIndex(2)
    source.length.activated.emit(2)
    source.form.set_values({"options.sentences": 3})
    source.set_text(TEXT)
    options = tab.body.options()
    assert type(options) is SummaryOptions
    assert (options.length, options.sentences, options.max_new_tokens) == ("long", 3, 24)
    settle(qtbot, services)
    again = make_tab(chat)
    assert again.body.source.text() == TEXT
    assert (again.body.options().length, again.body.options().sentences) == ("long", 3)


def test_an_instruction_that_cannot_be_filled_in_is_told(qtbot: Any, tab: Any, services: Any) -> None:
    tab.body.source.form.set_values({"options.instruction": "{nothing}"})
    tab.body.source.set_text(TEXT)
    tab.body.bar.run_button.click()
    assert not tab.body.busy
    assert "cannot be filled in" in tab.body.source.notice.text()
    tab.body.source.form.set_values({"options.instruction": ""})
    settle(qtbot, services)


def test_samples_and_older_texts_are_one_click_away(qtbot: Any, tab: Any, services: Any) -> None:
    qtbot.waitUntil(lambda: len(tab.body.source.samples.buttons) >= 2, timeout=20_000)
    tab.body.source.samples.buttons[0].click()
    qtbot.waitUntil(lambda: not tab.body.busy, timeout=60_000)
    first = tab.body.answer.summary.text
    asked = tab.body.source.text()
    settle(qtbot, services)
    tab.body.source.clear_button.click()
    assert tab.body.source.text() == ""
    tab.body.source.before.set_open(True)
    history = tab.body.source.history
    history.itemClicked.emit(history.item(0))
    qtbot.waitUntil(lambda: not tab.body.busy, timeout=60_000)
    assert (tab.body.source.text(), tab.body.answer.summary.text) == (asked, first)
    settle(qtbot, services)


def test_a_whole_file_by_an_encoder_decoder(qtbot: Any, make_tab: Any, services: Any, tmp_path: Path) -> None:
    tab = make_tab(build_bart(tmp_path / "bart"))
    rows = ["", "we drink tea", "the cat sits on the mat"]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in rows), encoding="utf-8")
    tab.ways.show_file()
    tab.batch.open_file(path)
    settle(qtbot, services)
    tab.batch.run_button.click()
    qtbot.waitUntil(lambda: tab.batch.report is not None, timeout=60_000)
    written = [json.loads(line) for line in (tmp_path / "rows-summarization.jsonl").read_text().splitlines()]
    assert [list(row) for row in written] == [["text"]] * 3
    assert written[0]["text"] == ""
    settle(qtbot, services)


def test_sources_are_found_by_meaning_where_the_encoder_is(
    qtbot: Any, make_tab: Any, services: Any, chat: Path, starter_encoder: Path
) -> None:
    models_folder().mkdir(parents=True, exist_ok=True)
    (models_folder() / "starter-encoder").symlink_to(starter_encoder)
    tab = make_tab(chat)
    summarize(qtbot, tab, services, TEXT)
    assert tab.body.result.support.method == "meaning"
    assert tab.body.result.meaning_note.text() == ""
    tab.body.result.meaning.setChecked(False)
    assert tab.body.result.support.method == "words"
