"""The Translation page, driven as a person drives it, on tiny models with random weights."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFileDialog

from lmstudio_app.jobs import JobContext
from lmstudio_app.models.loading import LoadRequest, load_model
from tests.tiny_chat import build_chat
from tests.tiny_seq2seq import build_m2m100, build_marian, build_t5

TEXT = "We drink tea.  The cat sits on the mat!\n\n- Good morning\n"


@pytest.fixture(scope="module")
def marian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_marian(tmp_path_factory.mktemp("models") / "marian", tokens=(">>deu<<", ">>zho<<"), spread=0.3)


@pytest.fixture
def make_tab(qtbot: Any, services: Any, one_thread: None) -> Callable[[Path], Any]:
    from lmstudio_app.gui.tabs.translation import TranslationTab

    def _make(model: Path) -> TranslationTab:
        tab = TranslationTab(services)
        qtbot.addWidget(tab, before_close_func=lambda widget: widget.shutdown())
        tab.resize(1100, 750)
        tab.show()
        tab.use_model(str(model))
        qtbot.waitUntil(lambda: tab.body._study is not None, timeout=20_000)
        tab.body.settings.form.set_values({"options.beams": 2, "options.max_new_tokens": 10})
        return tab

    return _make


@pytest.fixture
def tab(make_tab: Any, marian: Path) -> Any:
    return make_tab(marian)


def translate(qtbot: Any, tab: Any, text: str = TEXT) -> str:
    """Type a text, press Ctrl+Enter, wait for the whole translation."""
    tab.body.pairs.source.setPlainText(text)
    tab.body.pairs.source.setFocus()
    qtbot.keyClick(tab.body.pairs.source, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: not tab.body._asker.busy and tab.body._draft is not None, timeout=20_000)
    return str(tab.body.pairs.target.toPlainText())


def expected(model: Path, text: str, **options: Any) -> Any:
    from lmstudio_app.tasks.translating import translate
    from lmstudio_app.tasks.translators import TranslateOptions

    loaded = load_model(LoadRequest(str(model)), JobContext())
    chosen = TranslateOptions(beams=2, max_new_tokens=10, **options)
    return next(translate(loaded, [{"text": text}], JobContext(), chosen))


def test_a_text_is_translated_into_the_chosen_language(qtbot: Any, tab: Any, marian: Path, services: Any) -> None:
    bar = tab.body.languages
    assert [bar.target.itemText(index) for index in range(bar.target.count())] == ["Chinese", "German"]
    assert not bar.source.isEnabled()  # the model does not say
    assert not tab.body.bar.run_button.isEnabled()  # there is no text yet
    bar.target.setCurrentIndex(1)
    bar.target.activated.emit(1)
    seen: list[str] = []
    tab.body.pairs.target.textChanged.connect(lambda: seen.append(tab.body.pairs.target.toPlainText()))
    found = translate(qtbot, tab)
    assert found == expected(marian, TEXT, target_language="de").text != ""
    assert "tokens/s" in tab.body.bar.time.text()
    tab.body.bar.copy_button.click()
    assert QGuiApplication.clipboard().text() == found
    assert services.settings.get("translation.target") == "de"
    assert services.settings.get("translation.text") == TEXT
    assert tab.body.settings.history.count() == 1
    bar.target.setCurrentIndex(0)
    bar.target.activated.emit(0)
    chinese = translate(qtbot, tab)
    assert chinese == expected(marian, TEXT, target_language="zh").text
    assert tab.body._asked.options.target_language == "zh"
    history = tab.body.settings.history
    tab.body.settings.setCurrentWidget(history)
    history.itemClicked.emit(history.item(1))  # the first one, with its language
    assert bar.target.currentText() == "German"
    assert tab.body._asked.options.target_language == "de"
    qtbot.waitUntil(lambda: tab.body.pairs.target.toPlainText() == found, timeout=20_000)


def test_the_sentences_come_one_after_the_other(qtbot: Any, tab: Any) -> None:
    from lmstudio_app.gui.translation_queries import PieceTranslated, TextCut

    told: list[Any] = []
    tab.body._asker.events.connect(told.extend)
    translate(qtbot, tab, " ".join(f"We drink tea number {index}." for index in range(40)))
    assert isinstance(told[0], TextCut)
    numbers = [event.number for event in told if isinstance(event, PieceTranslated)]
    assert sorted(numbers) == list(range(40))
    assert set(numbers[:16]) == set(range(16))  # the beginning comes first


def test_pointing_at_a_word_marks_the_words_it_goes_with(qtbot: Any, tab: Any) -> None:
    found = translate(qtbot, tab)
    pairs = tab.body.pairs
    place = next(index for index, character in enumerate(found) if not character.isspace())
    qtbot.mouseMove(pairs.target.viewport(), QPoint(1, pairs.target.viewport().height() - 1))
    qtbot.mouseMove(pairs.target.viewport(), pairs.target.point_at(place))
    qtbot.waitUntil(lambda: len(pairs.source.marks) > 1, timeout=10_000)
    sentence, *words = pairs.source.marks
    assert TEXT[sentence.start : sentence.end] == "We drink tea."
    assert all(sentence.start <= mark.start < mark.end <= sentence.end for mark in words)
    assert 0 < sum(mark.strength for mark in words) <= 1.001
    own = pairs.target.marks[-1]
    assert own.start <= place < own.end
    # the other way round
    cat = TEXT.index("cat") + 1
    pairs.source.pointed_at.emit(cat)
    qtbot.waitUntil(lambda: len(pairs.source.marks) > 1 and len(pairs.target.marks) > 1, timeout=10_000)
    assert TEXT[pairs.source.marks[-1].start : pairs.source.marks[-1].end] == "cat"
    pairs.source.pointed_at.emit(-1)
    assert not pairs.source.marks
    # the words of another text would be marked
    pairs.target.pointed_at.emit(place)
    assert pairs.source.marks
    pairs.source.insertPlainText("x")
    assert not pairs.source.marks
    assert not pairs.target.marks


def test_a_sentence_is_replaced_by_another_translation_of_it(qtbot: Any, tab: Any, services: Any) -> None:
    found = translate(qtbot, tab)
    pairs, card = tab.body.pairs, tab.body.card
    assert not card.inspect_button.isEnabled()
    begin, end = tab.body._draft.spans[1]
    pairs.target.setFocus()
    cursor = pairs.target.textCursor()
    cursor.setPosition(begin + 1)
    pairs.target.setTextCursor(cursor)
    qtbot.keyClick(pairs.target, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: card.list.count() > 1, timeout=10_000)
    assert card.sentence.text() == "The cat sits on the mat!"
    texts = [card.list.item(row).data(Qt.ItemDataRole.UserRole)[0] for row in range(card.list.count())]
    other = next(text for text in texts if text != found[begin:end])
    assert card.list.item(0).text().endswith(texts[0])
    assert "%" in card.list.item(0).text()
    card.list.itemClicked.emit(card.list.item(texts.index(other)))
    assert pairs.target.toPlainText() == found[:begin] + other + found[end:]
    with qtbot.waitSignal(tab.inspect_requested) as signal:
        card.inspect_button.click()
    assert signal.args == ["The cat sits on the mat!"]


def test_it_is_kept_as_text_table_and_lines(qtbot: Any, tab: Any, tmp_path: Path) -> None:
    from lmstudio_app.gui.widgets.translation_body import as_lines, as_table

    found = translate(qtbot, tab)
    draft = tab.body._draft
    table = list(csv.reader(io.StringIO(as_table(draft, tab.body.languages.titles))))
    assert table[0] == ["As the model has learned it", "Chinese"]
    assert [row[0] for row in table[1:]] == ["We drink tea.", "The cat sits on the mat!", "Good morning"]
    assert [row[1] for row in table[1:]] == [found[begin:end] for begin, end in draft.spans]
    lines = [json.loads(line) for line in as_lines(draft).splitlines()]
    assert [line["source"] for line in lines] == [row[0] for row in table[1:]]
    assert all(0 < line["score"] <= 1 for line in lines)
    tab.body.bar.export_button.click()
    dialog = tab.body.findChild(QFileDialog)
    dialog.fileSelected.emit(str(tmp_path / "mine.txt"))
    dialog.close()
    qtbot.waitUntil(lambda: (tmp_path / "mine.txt").is_file())
    assert (tmp_path / "mine.txt").read_text(encoding="utf-8") == found


def test_stop_ends_it_within_200_ms_and_keeps_what_is_there(qtbot: Any, tab: Any) -> None:
    body = tab.body
    body.settings.form.set_values({"options.beams": 4, "options.max_new_tokens": 60})
    body.pairs.source.setPlainText(" ".join(f"We drink tea number {index}." for index in range(600)))
    body.bar.run_button.click()
    qtbot.waitUntil(lambda: body._draft is not None and body._draft.done > 0, timeout=20_000)
    begun = time.perf_counter()
    body.bar.stop_button.click()
    qtbot.waitUntil(lambda: not body._asker.busy, timeout=2000)
    assert time.perf_counter() - begun < 0.2
    assert 0 < body._draft.done < 600
    assert body.bar.time.text().startswith("Stopped after")
    assert body.pairs.target.toPlainText().strip()
    assert body.bar.run_button.isEnabled()


def test_both_ways_can_be_swapped(qtbot: Any, make_tab: Any, tmp_path: Path) -> None:
    tab = make_tab(build_m2m100(tmp_path / "m2m"))
    bar = tab.body.languages
    assert bar.languages[0] == "en"
    bar.choose("en", "de")
    assert bar.target.findData("en") < 0
    assert bar.swap_button.isEnabled()
    found = translate(qtbot, tab, "good morning")
    bar.swap_button.click()
    assert bar.languages == ("de", "en")
    assert tab.body.pairs.source.toPlainText() == found
    qtbot.waitUntil(lambda: not tab.body._asker.busy, timeout=20_000)
    # the target as the source: the other one becomes the target
    index = bar.source.findData("en")
    bar.source.setCurrentIndex(index)
    bar.source.activated.emit(index)
    assert bar.languages == ("en", "de")


def test_pairs_limit_what_goes_together(make_tab: Any, tmp_path: Path) -> None:
    folder = build_t5(tmp_path / "t5")
    config = json.loads((folder / "config.json").read_text())
    pairs = ("en_to_de", "en_to_fr", "de_to_en")
    config["task_specific_params"] = {f"translation_{pair}": {"prefix": f"{pair}: "} for pair in pairs}
    (folder / "config.json").write_text(json.dumps(config))
    tab = make_tab(folder)
    bar = tab.body.languages
    assert {bar.source.itemData(index) for index in range(bar.source.count())} == {"en", "de"}
    bar.choose("en", "fr")
    assert not bar.swap_button.isEnabled()
    bar.choose("en", "de")
    assert bar.swap_button.isEnabled()
    index = bar.source.findData("de")
    bar.source.setCurrentIndex(index)
    bar.source.activated.emit(index)
    assert bar.languages == ("de", "en")


def test_a_chat_model_says_what_it_cannot(qtbot: Any, make_tab: Any, tmp_path: Path) -> None:
    folder = build_chat(tmp_path / "chat")
    tab = make_tab(folder)
    assert tab.body.languages.source.findText("Any language") >= 0
    translate(qtbot, tab, "We drink tea.")
    tab.body.pairs.sentence_chosen.emit(0)
    qtbot.waitUntil(lambda: tab.body.card.list.count() > 1, timeout=20_000)
    assert "%" not in tab.body.card.list.item(0).text()
    tab.body.pairs.source.pointed_at.emit(3)
    assert all(mark.strength < 0.1 for mark in tab.body.pairs.source.marks)  # the sentence, no words
    tab.page.loaded.tokenizer.chat_template = "{{ raise_exception('only robots') }}"
    tab.body.bar.run_button.click()
    qtbot.waitUntil(lambda: "only robots" in tab.body.notice.text(), timeout=10_000)
    assert not tab.body._asker.busy


def test_settings_that_cannot_be_are_told_and_remembered(qtbot: Any, tab: Any, services: Any) -> None:
    tab.body.settings.form.set_values({"options.max_new_tokens": 1})
    translate(qtbot, tab, "We drink tea.")
    assert "cut off" in tab.body.notice.text()
    assert services.settings.get("translation.options")["options.max_new_tokens"] == 1


def test_a_whole_file_in_the_chosen_language(qtbot: Any, tab: Any, marian: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "in-translation.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in (TEXT, "Good morning")))
    tab.body.languages.choose("", "de")
    tab.ways.show_file()
    tab.batch.open_file(source)
    qtbot.waitUntil(tab.batch.run_button.isEnabled, timeout=10_000)
    tab.batch.run_button.click()
    qtbot.waitUntil(lambda: output.is_file(), timeout=20_000)
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert [row["text"] for row in rows] == [
        expected(marian, text, target_language="de").text for text in (TEXT, "Good morning")
    ]


def test_another_model_asks_for_another_translation(qtbot: Any, tab: Any, tmp_path: Path) -> None:
    translate(qtbot, tab, "We drink tea.")
    first = tab.body._study
    tab.use_model(str(build_marian(tmp_path / "other")))
    qtbot.waitUntil(lambda: tab.body._study not in (None, first), timeout=20_000)
    tab.body.pairs.sentence_chosen.emit(0)
    assert "Another model" in tab.body.card.blank.text()
    assert tab.body.languages.target.currentText() == "As the model has learned it"


def test_every_control_has_a_name_and_says_what_it_does(tab: Any) -> None:
    from PySide6.QtWidgets import QAbstractButton, QComboBox, QListWidget, QPlainTextEdit

    from lmstudio_app.gui.widgets.elided_button import ElidedButton

    for kind in (QAbstractButton, QComboBox, QListWidget, QPlainTextEdit):
        for control in tab.body.findChildren(kind) + tab.languages.findChildren(kind):
            if not control.isVisible() or isinstance(control, ElidedButton) or control.parent().inherits("QTabBar"):
                continue
            assert control.accessibleName(), control
            assert control.toolTip() or control.accessibleDescription(), control.accessibleName()
