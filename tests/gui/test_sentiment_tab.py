"""The Sentiment page, with real widgets on tiny models and real files."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QEvent, QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent, QHelpEvent, QTextCursor
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractButton, QApplication, QFileDialog, QLineEdit, QToolTip

from lmstudio_app.gui import theme
from lmstudio_app.gui.dialogs import ErrorDialog
from lmstudio_app.gui.predictions import TextQuestion, WordsQuestion, explain_text, judge_text
from lmstudio_app.gui.tabs.sentiment import SentimentTab
from lmstudio_app.gui.widgets.judgement_pane import JudgementPane
from lmstudio_app.gui.widgets.score_bars import ScoreBars
from lmstudio_app.gui.widgets.word_tints import WordTints
from lmstudio_app.inspection.saliency import Saliency, WordScore
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.loading import LoadRequest, load_model
from lmstudio_app.settings import Settings, runs_folder
from lmstudio_app.tasks.outputs import Label
from lmstudio_app.tasks.sentiment import JUDGE
from lmstudio_app.tasks.zero_shot import ZERO_SHOT

TEXT = "the film was not very good"
TEXTS = [f"{word} {thing} {number}" for number in range(25) for word in ("good", "bad") for thing in ("film", "food")]


@pytest.fixture(scope="module")
def classifier(tiny_classifier: Path) -> Any:
    return load_model(LoadRequest(str(tiny_classifier), precision="float32"), JobContext())


@pytest.fixture
def make_tab(qtbot: Any, services: Any) -> Iterator[Callable[..., SentimentTab]]:
    """``make_tab(loaded)``: without a neutral zone (a tiny model is never sure) and without looking at the words."""
    tabs: list[SentimentTab] = []

    def make(loaded: Any = None, *, band: float = 0.0, words: bool = False, mode: str = "sentiment") -> SentimentTab:
        services.settings.set("sentiment.neutral_band", band)
        services.settings.set("sentiment.words", words)
        services.settings.set("sentiment.mode", mode)
        tab = SentimentTab(services)
        qtbot.addWidget(tab)
        tabs.append(tab)
        tab.resize(1040, 740)
        tab.show()
        if loaded is not None:
            use(qtbot, services, tab, loaded)
        return tab

    yield make
    for tab in tabs:
        tab.shutdown()


def use(qtbot: Any, services: Any, tab: SentimentTab, loaded: Any) -> None:
    """Ask this model, which is in memory."""
    services.shelf.put(loaded)
    tab.page.use_model(loaded.reference)
    qtbot.waitUntil(lambda: tab.one.model is loaded, timeout=20_000)
    idle(qtbot, tab)
    qtbot.waitUntil(lambda: not services.query_runner.busy, timeout=20_000)  # the examples have come, too


def expected_label(loaded: Any, text: str) -> Any:
    return next(iter(JUDGE.predict(loaded, [{"text": text}], JobContext(), JUDGE.options(batch_size=1))))


def idle(qtbot: Any, tab: SentimentTab) -> None:
    qtbot.waitUntil(lambda: not tab.one.busy and tab.many._handle is None, timeout=20_000)


def verdict(tab: SentimentTab) -> str:
    return str(tab.one.pane.verdict.text())


def answered(qtbot: Any, tab: SentimentTab) -> None:
    qtbot.waitUntil(lambda: bool(verdict(tab)), timeout=20_000)


@pytest.fixture
def table_file(tmp_path: Path) -> Path:
    path = tmp_path / "in.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "review"])
        writer.writerows(enumerate(TEXTS))
    return path


def test_without_a_model_it_says_what_to_do(qtbot: Any, make_tab: Callable[..., SentimentTab]) -> None:
    tab = make_tab()
    qtbot.waitUntil(lambda: len(tab.page.empty.buttons) == 3, timeout=20_000)
    assert "No model on this computer" in tab.page.empty.title.text()
    with qtbot.waitSignal(tab.starter_requested):
        tab.page.empty.buttons[0].click()
    with qtbot.waitSignal(tab.step_requested) as asked:
        tab.page.empty.buttons[-1].click()
    assert asked.args == ["train"]


def test_a_model_without_classes_is_not_taken(
    qtbot: Any, make_tab: Callable[..., SentimentTab], tiny_encoder: Path
) -> None:
    tab = make_tab()
    qtbot.waitUntil(lambda: bool(tab.page.empty.buttons), timeout=20_000)
    tab.set_model(load_model(LoadRequest(str(tiny_encoder)), JobContext()))
    assert tab.page.loaded is None
    assert not tab.one.isVisible()


def test_the_model_of_the_model_page_is_taken_when_it_suits(
    qtbot: Any, make_tab: Callable[..., SentimentTab], classifier: Any
) -> None:
    tab = make_tab()
    tab.set_model(classifier)
    qtbot.waitUntil(lambda: tab.one.model is classifier, timeout=20_000)
    assert tab.one.isVisible()


@pytest.mark.parametrize("task", ["sentiment"])
def test_a_model_that_was_trained_here_is_listed(
    qtbot: Any, make_tab: Callable[..., SentimentTab], tiny_classifier: Path, app_home: Path, task: str
) -> None:
    from lmstudio_app.data.splits import DataConfig
    from lmstudio_app.training.recipe import Recipe
    from lmstudio_app.training.runs import create_run

    run = create_run(Recipe(task=task, model="starter:encoder", data=DataConfig(train="uci-sentiment")))
    shutil.copytree(tiny_classifier, run.path / "final")
    run.close()
    assert run.path.parent == runs_folder()
    tab = make_tab()
    qtbot.waitUntil(lambda: tab.one.model is not None, timeout=20_000)
    assert tab.one.model.reference == str(run.path / "final")
    assert tab.page.picker.combo.currentText().startswith("MiniLM-L6 encoder · Sentiment, today ")


def test_the_answer_follows_the_typing(qtbot: Any, make_tab: Callable[..., SentimentTab], classifier: Any) -> None:
    tab = make_tab(classifier)
    assert tab.one.isVisible()
    assert not tab.one.pane.inspect_button.isEnabled()
    qtbot.keyClicks(tab.one.edit, TEXT)
    answered(qtbot, tab)
    idle(qtbot, tab)
    expected = expected_label(classifier, TEXT)
    assert verdict(tab) == expected.label.capitalize()
    assert [name for name, _ in tab.one.pane.bars.rows] == ["negative", "positive"]
    assert dict(tab.one.pane.bars.rows) == pytest.approx(dict(expected.scores), abs=1e-5)
    assert tab.one.bar.time.text().endswith(" ms")
    assert tab.one.history.count() == 0  # typed, not yet meant
    qtbot.keyClick(tab.one.edit, Qt.Key.Key_Return)
    assert tab.one.history.count() == 1
    assert TEXT in tab.one.history.item(0).text()
    assert tab.one.edit.toPlainText() == TEXT
    with qtbot.waitSignal(tab.inspect_requested) as asked:
        tab.one.pane.inspect_button.click()
    assert asked.args == [TEXT]


def test_enter_asks_at_once_and_shift_enter_begins_a_line(
    qtbot: Any, make_tab: Callable[..., SentimentTab], classifier: Any
) -> None:
    tab = make_tab(classifier)
    tab.one._timer.setInterval(60_000)
    qtbot.keyClicks(tab.one.edit, "good")
    qtbot.keyClick(tab.one.edit, Qt.Key.Key_Return, Qt.KeyboardModifier.ShiftModifier)
    qtbot.keyClicks(tab.one.edit, "film")
    assert tab.one.edit.toPlainText() == "good\nfilm"
    qtbot.keyClick(tab.one.edit, Qt.Key.Key_Return)
    answered(qtbot, tab)
    assert verdict(tab) == expected_label(classifier, "good\nfilm").label.capitalize()
    idle(qtbot, tab)
    assert tab.one.history.count() == 1


def test_samples_are_one_click_away_and_come_back_from_the_list(
    qtbot: Any, make_tab: Callable[..., SentimentTab], classifier: Any
) -> None:
    tab = make_tab(classifier)
    for sample in tab.one.samples[:2]:
        sample.click()
        idle(qtbot, tab)
    assert tab.one.history.count() == 2
    older = tab.one.history.item(1)
    tab.one.history.itemClicked.emit(older)
    idle(qtbot, tab)
    assert tab.one.edit.toPlainText() == tab.one.samples[0].text()
    assert tab.one.history.count() == 2
    assert tab.one.samples[0].text() in tab.one.history.item(0).text()


def test_of_many_keystrokes_only_the_newest_text_waits(
    qtbot: Any, make_tab: Callable[..., SentimentTab], classifier: Any, services: Any
) -> None:
    tab = make_tab(classifier)
    started: list[Any] = []
    services.query_runner.job_started.connect(started.append)
    for length in range(1, 30):
        tab.one.set_text(("good bad " * 30)[: 8 * length])
    idle(qtbot, tab)
    assert len(started) == 2
    assert verdict(tab) == expected_label(classifier, tab.one.edit.toPlainText()).label.capitalize()


def test_an_empty_text_shows_nothing(qtbot: Any, make_tab: Callable[..., SentimentTab], classifier: Any) -> None:
    tab = make_tab(classifier)
    tab.one.set_text(TEXT)
    idle(qtbot, tab)
    tab.one.edit.clear()
    qtbot.waitUntil(lambda: verdict(tab) == "", timeout=5000)
    assert tab.one.pane.bars.rows == []
    assert not tab.one.pane.inspect_button.isEnabled()


def test_another_model_answers_anew(
    qtbot: Any, make_tab: Callable[..., SentimentTab], classifier: Any, tiny_encoder: Path, services: Any
) -> None:
    tab = make_tab(classifier)
    tab.one.set_text(TEXT)
    idle(qtbot, tab)
    labels = ("awful", "poor", "fair", "good", "great", "superb", "divine")
    many = load_model(LoadRequest(str(tiny_encoder), head="sequence-classification", labels=labels), JobContext())
    many.card = classifier.card
    many.reference = "many"
    use(qtbot, services, tab, many)
    assert [tab.one.history.item(0).text()] == [TEXT]  # without the label, which was another model's
    rows = tab.one.pane.bars.rows
    assert {name for name, _ in rows} == set(labels)
    assert [value for _, value in rows] == sorted((value for _, value in rows), reverse=True)
    assert sum(value for _, value in rows) == pytest.approx(1, abs=1e-5)
    assert verdict(tab) == rows[0][0]


def test_a_failure_is_a_dialog_and_the_page_lives_on(
    qtbot: Any, make_tab: Callable[..., SentimentTab], tiny_classifier: Path, services: Any
) -> None:
    loaded = load_model(LoadRequest(str(tiny_classifier), precision="float32"), JobContext())
    tab = make_tab(loaded)
    weights = loaded.model.classifier.weight
    loaded.model.classifier.weight = type(weights)(weights[:, :5])
    started: list[Any] = []
    services.query_runner.job_started.connect(started.append)
    tab.one.set_text(TEXT)
    qtbot.waitUntil(lambda: bool(tab.findChildren(ErrorDialog)), timeout=20_000)
    tab.findChildren(ErrorDialog)[0].close()
    qtbot.wait(100)
    assert len(started) == 1  # the text that failed is not asked again by itself
    assert verdict(tab) == ""
    loaded.model.classifier.weight = weights
    tab.one.set_text("good film")
    answered(qtbot, tab)


# --- a file


def test_a_file_is_labelled_sorted_and_saved(
    qtbot: Any, make_tab: Callable[..., SentimentTab], classifier: Any, table_file: Path, tmp_path: Path
) -> None:
    tab = make_tab(classifier)
    many = tab.many
    tab.show_view("many")
    assert many.hint.isVisible()
    assert not many.classify_button.isVisible()
    tab.open_file(table_file)
    idle(qtbot, tab)
    assert many.column.currentText() == "review"
    assert "100 rows" in many.summary.text()
    many.classify_button.click()
    idle(qtbot, tab)
    expected = list(
        JUDGE.predict(classifier, [{"text": text} for text in TEXTS], JobContext(), JUDGE.options(batch_size=8))
    )
    model = many.table_model
    assert many.table.isVisible()
    assert model.rowCount() == 100
    assert [model.index(row, 0).data() for row in range(3)] == TEXTS[:3]
    assert [model.index(row, 1).data() for row in range(100)] == [label.label for label in expected]
    assert str(sum(label.label == "negative" for label in expected)) in many.summary.text()
    many.table.sortByColumn(2, Qt.SortOrder.DescendingOrder)
    best = max(range(100), key=lambda row: max(expected[row].scores.values()))
    assert model.headerData(0, Qt.Orientation.Vertical) == best + 1
    assert model.index(0, 0).data() == TEXTS[best]
    many.table.doubleClicked.emit(model.index(0, 0))
    assert tab.one.isVisible()
    assert tab.one.edit.toPlainText() == TEXTS[best]
    idle(qtbot, tab)

    many.export(tmp_path / "out.jsonl")
    idle(qtbot, tab)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["text"] for row in rows] == TEXTS
    assert [row["label"] for row in rows] == [label.label for label in expected]
    assert rows[7]["scores"] == pytest.approx(dict(expected[7].scores), abs=1e-5)
    many.export(tmp_path / "out.csv")
    idle(qtbot, tab)
    with (tmp_path / "out.csv").open(encoding="utf-8-sig", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["text"] for row in table] == TEXTS
    assert float(table[3]["score_positive"]) == pytest.approx(expected[3].scores["positive"], abs=1e-5)
    assert "Saved" in many.summary.text()


def test_the_dialogs_choose_and_save(
    qtbot: Any, make_tab: Callable[..., SentimentTab], classifier: Any, table_file: Path, tmp_path: Path
) -> None:
    tab = make_tab(classifier)
    tab.show_view("many")
    tab.many.choose_button.click()
    dialog = tab.many.findChild(QFileDialog)
    dialog.setDirectory(str(table_file.parent))
    dialog.findChild(QLineEdit).setText(str(table_file))
    dialog.accept()
    qtbot.waitUntil(lambda: tab.many._file is not None, timeout=20_000)
    qtbot.waitUntil(lambda: tab.many.findChild(QFileDialog) is None)
    tab.many.classify()
    idle(qtbot, tab)
    tab.many.csv_button.click()
    dialog = tab.many.findChild(QFileDialog)
    dialog.findChild(QLineEdit).setText(str(tmp_path / "labels"))
    dialog.accept()
    idle(qtbot, tab)
    assert (tmp_path / "labels.csv").is_file()
    assert Settings(tab._settings.path).get("sentiment.folder") == str(tmp_path)


def test_a_dropped_file_is_read(
    qtbot: Any, make_tab: Callable[..., SentimentTab], classifier: Any, tmp_path: Path
) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("good film\nbad food\n", encoding="utf-8")
    tab = make_tab(classifier)
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path))])
    event = QDropEvent(
        QPointF(5, 5),
        Qt.DropAction.CopyAction,
        mime,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    tab.many.dropEvent(event)
    qtbot.waitUntil(lambda: tab.many._file is not None, timeout=20_000)
    assert "2 rows" in tab.many.summary.text()


def test_labelling_can_be_cancelled_and_started_again(
    qtbot: Any, make_tab: Callable[..., SentimentTab], classifier: Any, tmp_path: Path
) -> None:
    path = tmp_path / "many.txt"
    path.write_text("\n".join(" ".join([TEXT] * 15) for _ in range(20_000)), encoding="utf-8")
    tab = make_tab(classifier)
    tab.open_file(path)
    idle(qtbot, tab)
    tab.many.classify()
    qtbot.waitUntil(lambda: tab.many.progress.value() > 0, timeout=20_000)
    assert "of 20" in tab.many.summary.text()
    assert not tab.many.choose_button.isEnabled()
    tab.show_view("one")
    tab.one.set_text(TEXT)  # answered meanwhile
    answered(qtbot, tab)
    tab.show_view("many")
    assert tab.many._handle is not None
    tab.many.cancel_button.click()
    idle(qtbot, tab)
    assert tab.many.predictions is None
    assert tab.many.classify_button.isEnabled()
    assert tab.many.hint.isVisible()
    assert not tab.many.cancel_button.isVisible()


def test_another_model_drops_the_old_labels(
    qtbot: Any, make_tab: Callable[..., SentimentTab], classifier: Any, table_file: Path
) -> None:
    tab = make_tab(classifier)
    tab.open_file(table_file)
    idle(qtbot, tab)
    tab.many.classify()
    idle(qtbot, tab)
    assert tab.many.csv_button.isVisible()
    tab.many.set_model(classifier)
    assert tab.many.table_model.rowCount() == 0
    assert not tab.many.csv_button.isVisible()
    assert tab.many.classify_button.isVisible()  # the file is still chosen


def test_bad_files_are_told(
    qtbot: Any, make_tab: Callable[..., SentimentTab], classifier: Any, services: Any, table_file: Path, tmp_path: Path
) -> None:
    tab = make_tab(classifier)
    failures: list[Any] = []
    services.batch_runner.job_failed.connect(lambda handle, error: failures.append(error))
    tab.open_file(tmp_path / "none.csv")
    qtbot.waitUntil(lambda: len(failures) == 1, timeout=20_000)
    assert "none.csv" in failures[0].message
    (tmp_path / "empty.csv").write_text("")
    tab.open_file(tmp_path / "empty.csv")
    qtbot.waitUntil(lambda: len(failures) == 2, timeout=20_000)
    idle(qtbot, tab)
    assert tab.many.choose_button.isEnabled()
    tab.open_file(table_file)
    idle(qtbot, tab)
    tab.many.classify()
    idle(qtbot, tab)
    tab.many.export(tmp_path / "out.xlsx")
    qtbot.waitUntil(lambda: len(failures) == 3, timeout=20_000)
    assert ".csv or .jsonl" in failures[2].remedy
    assert not (tmp_path / "out.xlsx").exists()
    assert tab.many.predictions is not None


def test_state_is_remembered(qtbot: Any, make_tab: Callable[..., SentimentTab], classifier: Any) -> None:
    tab = make_tab(classifier)
    tab.one.set_text(TEXT)
    idle(qtbot, tab)
    again = make_tab(classifier)
    assert again.one.edit.toPlainText() == TEXT
    idle(qtbot, again)
    assert verdict(again) == expected_label(classifier, TEXT).label.capitalize()


def test_bars_of_many_classes_are_sorted_and_readable(qtbot: Any) -> None:
    bars = ScoreBars()
    qtbot.addWidget(bars)
    scores = {f"class {index}": index / 4950 for index in range(100)}
    bars.set_scores(scores)
    bars.resize(bars.sizeHint())
    assert bars.rows[0] == ("class 99", scores["class 99"])
    assert bars.sizeHint().height() >= 100 * bars.fontMetrics().height()
    assert "class 99 2" in bars.accessibleDescription()
    bars.set_scores({"negative": 0.9, "positive": 0.1})
    bars.resize(400, bars.sizeHint().height())
    image = bars.grab().toImage()
    colours = {image.pixelColor(x, image.height() // 4).name() for x in range(image.width())}
    assert bars.palette().color(bars.palette().ColorRole.Highlight).name() in colours


def test_the_job_measures_its_time(classifier: Any) -> None:
    label, seconds = judge_text(TextQuestion(classifier, TEXT), JobContext())
    assert label.label in ("negative", "positive")
    assert 0 < seconds < 10


def test_every_control_can_be_named(
    qtbot: Any, make_tab: Callable[..., SentimentTab], classifier: Any, table_file: Path
) -> None:
    tab = make_tab(classifier)
    tab.open_file(table_file)
    idle(qtbot, tab)
    tab.many.classify()
    idle(qtbot, tab)
    named = [
        item
        for item in tab.findChildren(QAbstractButton)
        if item.isVisible() and item.parent().metaObject().className() not in ("QTableView", "QScrollBar")
    ]
    named += [tab.one.edit, tab.one.history, tab.many.column, tab.many.table, tab.one.pane.bars]
    named += [tab.one.pane.slider.slider, tab.many.slider.slider, tab.one.pane.words_box, tab.one.pane.words.view]
    named += [tab.one.own_labels.labels, tab.one.own_labels.template, tab.one.own_labels.options.button]
    assert len(named) > 12
    for item in named:
        assert item.accessibleName(), item
        assert item.toolTip(), item.accessibleName()


# --- neutral


def test_the_neutral_zone_is_drawn_and_drawn_apart(
    qtbot: Any, make_tab: Callable[..., SentimentTab], classifier: Any, services: Any
) -> None:
    tab = make_tab(classifier, band=0.2)
    pane = tab.one.pane
    pane.show_label(Label("positive", {"negative": 0.42, "positive": 0.58}))
    assert (pane.band, pane.bars.band) == (0.2, 0.2)
    assert verdict(tab) == "Neutral"
    assert pane.judgement.label == "neutral"
    assert pane.slider.isVisible()
    assert "40" in pane.slider.value.text()
    assert "60" in pane.slider.value.text()
    left, track = pane.bars.track()
    y = pane.bars.height() // 3

    def at(share: float) -> QPoint:
        return QPoint(round(left + track * share), y)

    before = pane.bars.grab().toImage()
    QTest.mousePress(pane.bars, Qt.MouseButton.LeftButton, pos=at(0.6))
    QTest.mouseMove(pane.bars, at(0.55))
    QTest.mouseRelease(pane.bars, Qt.MouseButton.LeftButton, pos=at(0.55))
    assert pane.band == pytest.approx(0.1, abs=0.021)
    assert verdict(tab) == "Positive"
    assert pane.bars.grab().toImage() != before
    assert services.settings.get("sentiment.neutral_band") == pane.band
    pane.slider.slider.setValue(30)
    assert verdict(tab) == "Neutral"
    assert pane.bars.band == 0.3
    assert tab.many.slider.band == 0.3
    again = JudgementPane(services.settings)
    qtbot.addWidget(again)
    assert again.band == 0.3


def test_models_with_three_classes_are_as_they_are(
    qtbot: Any, make_tab: Callable[..., SentimentTab], classifier: Any
) -> None:
    pane = make_tab(classifier, band=1.0).one.pane
    pane.show_label(Label("LABEL_2", {"LABEL_0": 0.3, "LABEL_1": 0.3, "LABEL_2": 0.4}))
    assert pane.verdict.text() == "Positive"
    assert [name for name, _ in pane.bars.rows] == ["negative", "neutral", "positive"]
    assert not pane.slider.isVisible()
    pane.show_label(Label("4 stars", {f"{n} stars": 0.6 if n == 4 else 0.1 for n in range(1, 6)}))
    assert pane.verdict.text() == "4 stars (positive)"
    pane.show_label(Label("spam", {"spam": 0.51, "ham": 0.49}))
    assert pane.verdict.text() == "spam"
    assert pane.bars.band is None


def test_the_rows_of_a_file_are_judged_by_the_zone(
    qtbot: Any, make_tab: Callable[..., SentimentTab], tiny_classifier: Path, table_file: Path, tmp_path: Path
) -> None:
    loaded = load_model(LoadRequest(str(tiny_classifier), precision="float32"), JobContext())
    loaded.model.classifier.weight.data *= 40  # as it is, it is never sure of anything
    tab = make_tab(loaded)
    tab.open_file(table_file)
    idle(qtbot, tab)
    tab.many.classify()
    idle(qtbot, tab)
    plain = tab.many.predictions
    distances = sorted(abs(float(score) - 0.5) for score in plain.scores[:, 1])
    band = round(2 * distances[40], 2)
    tab.one.pane.slider.slider.setValue(round(100 * band))
    counts = tab.many.predictions.counts()
    assert counts["neutral"] == sum(distance < band / 2 for distance in distances) > 0
    assert sum(counts.values()) == 100
    assert "neutral" in tab.many.summary.text()
    assert tab.many.slider.isVisible()
    tab.many.slider.slider.setValue(0)
    assert "neutral" not in tab.many.predictions.counts()
    assert tab.one.pane.band == 0
    tab.many.slider.set_band(band)
    shown = [tab.many.table_model.index(row, 1).data() for row in range(100)]
    assert shown.count("neutral") == counts["neutral"]
    tab.many.export(tmp_path / "out.jsonl")
    idle(qtbot, tab)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["label"] for row in rows] == shown
    assert all(row["scores"].keys() == {"negative", "positive"} for row in rows)


# --- words


def test_the_words_are_tinted_once_the_typing_rests(
    qtbot: Any, make_tab: Callable[..., SentimentTab], classifier: Any
) -> None:
    tab = make_tab(classifier, words=True)
    words = tab.one.pane.words
    qtbot.keyClicks(tab.one.edit, TEXT)
    qtbot.waitUntil(lambda: words.saliency is not None, timeout=20_000)
    expected = explain_text(WordsQuestion(classifier, TEXT, tab.one.pane.likeliest), JobContext())
    assert [word.score for word in words.saliency.words] == pytest.approx([w.score for w in expected.words], abs=1e-4)
    assert words.view.toPlainText() == TEXT
    strongest = max(expected.words, key=lambda word: abs(word.score))
    assert words.word_at(strongest.start) == next(w for w in words.saliency.words if w.start == strongest.start)
    sign = "for" if strongest.score > 0 else "against"
    assert f"speaks {sign} “{verdict(tab)}”" in words.tip_of(strongest)
    cursor = QTextCursor(words.view.document())
    cursor.setPosition(strongest.start)
    place = words.view.cursorRect(cursor).center() + QPoint(2, 0)
    event = QHelpEvent(QEvent.Type.ToolTip, place, words.view.viewport().mapToGlobal(place))
    QApplication.sendEvent(words.view.viewport(), event)
    assert QToolTip.text() == words.tip_of(words.word_at(strongest.start))
    QToolTip.hideText()
    assert "With every word hidden" in words.note.text()
    assert "log-odds" in words.note.toolTip()
    assert "against" in words.legend.text()
    tab.one.edit.clear()
    qtbot.waitUntil(lambda: words.saliency is None, timeout=5000)
    tab.one.pane.words_box.click()
    assert not words.isVisible()
    assert tab._settings.get("sentiment.words") is False


@pytest.mark.parametrize("dark", [False, True])
def test_tinted_words_stay_readable(qtbot: Any, qapp: Any, dark: bool) -> None:
    words = WordTints()
    qtbot.addWidget(words)
    words.setPalette(theme.build_palette(dark=dark))
    found = [WordScore(0, 4, "good", 1.5), WordScore(5, 9, "dull", -1.5), WordScore(10, 13, "the", 0.01)]
    words.show_words("good dull the", "Positive", Saliency("positive", tuple(found), 0.2, 0.19, 0.0, 12, 13))
    good, dull = words.tint_of(found[0]), words.tint_of(found[1])
    assert good is not None
    assert dull is not None
    assert words.tint_of(found[2]) is None
    text = words.palette().color(words.palette().ColorRole.Text)
    assert theme.contrast(text, good) >= 4.5
    assert theme.contrast(text, dull) >= 4.5
    assert good.blue() > good.red()
    assert dull.red() > dull.blue()
    (selection,) = [item for item in words.view.extraSelections() if item.cursor.selectedText() == "dull"]
    assert selection.format.underlineStyle() != selection.format.UnderlineStyle.NoUnderline


# --- labels of one's own


@pytest.fixture(scope="module")
def encoder(tiny_encoder: Path) -> Any:
    return load_model(LoadRequest(str(tiny_encoder), precision="float32"), JobContext())


def test_labels_of_ones_own_are_chosen_among(
    qtbot: Any, make_tab: Callable[..., SentimentTab], encoder: Any, services: Any
) -> None:
    tab = make_tab(encoder, mode="zero_shot")
    one = tab.one
    assert one.own_labels.isVisible()
    assert not one.pane.slider.isVisible()
    assert not one.pane.words.isVisible()
    assert "similarity" in one.pane.hint.text()
    assert len(one.samples) >= 2
    one.own_labels.labels.setText("film, food")
    one.set_text(TEXT)
    answered(qtbot, tab)
    idle(qtbot, tab)
    (expected,) = ZERO_SHOT.predict(encoder, [{"text": TEXT}], JobContext(), one.own_labels.config())
    assert dict(one.pane.bars.rows) == pytest.approx(dict(expected.scores), abs=1e-5)
    assert verdict(tab) == expected.label
    assert one.history.count() == 1
    one.own_labels.labels.setText("film, food, phone")  # asks again by itself
    qtbot.waitUntil(lambda: len(one.pane.bars.rows) == 3, timeout=20_000)
    one.own_labels.labels.setText("film")
    qtbot.waitUntil(lambda: "2 to 100 labels" in one.pane.notice.text(), timeout=20_000)
    assert verdict(tab) == ""
    one.own_labels.labels.setText("negative, positive")
    answered(qtbot, tab)
    assert verdict(tab) in ("negative", "positive")  # the user's words, as they are
    assert not one.pane.notice.isVisible()
    one.own_labels.template.setText("no place")
    qtbot.waitUntil(lambda: "no single place" in one.pane.notice.text(), timeout=20_000)
    idle(qtbot, tab)
    assert services.settings.get("zero_shot.labels") == "negative, positive"


def test_a_file_is_sorted_by_labels_of_ones_own(
    qtbot: Any, make_tab: Callable[..., SentimentTab], encoder: Any, table_file: Path
) -> None:
    tab = make_tab(encoder, mode="zero_shot")
    tab.one.own_labels.labels.setText("film, food")
    tab.open_file(table_file)
    idle(qtbot, tab)
    tab.many.classify()
    idle(qtbot, tab)
    assert tab.many.predictions.names == ("film", "food")
    assert sum(tab.many.predictions.counts().values()) == 100
    tab.one.own_labels.labels.setText("film, food, phone")
    assert tab.many.predictions is None
    idle(qtbot, tab)


def test_the_mode_changes_the_model(
    qtbot: Any, make_tab: Callable[..., SentimentTab], classifier: Any, encoder: Any, services: Any
) -> None:
    tab = make_tab(classifier)
    tab.one.set_text(TEXT)
    answered(qtbot, tab)
    idle(qtbot, tab)
    tab.modes.buttons["zero_shot"].click()
    assert tab.one.model is None
    assert verdict(tab) == ""
    assert "similarity" not in tab.one.pane.hint.text()
    qtbot.waitUntil(lambda: bool(tab.page.empty.buttons), timeout=20_000)
    use(qtbot, services, tab, encoder)
    answered(qtbot, tab)
    assert "similarity" in tab.one.pane.hint.text()
    idle(qtbot, tab)
    assert tab.one.bar.time.text().endswith("s")
    assert [tab.one.history.item(row).text() for row in range(tab.one.history.count())] == []
    tab.use_model(classifier.reference)  # a trained model comes to judge sentiment
    qtbot.waitUntil(lambda: tab.one.model is classifier, timeout=20_000)
    assert tab.mode == "sentiment"
    assert "similarity" not in tab.one.pane.hint.text()
    answered(qtbot, tab)
    assert verdict(tab) in ("Negative", "Positive")
    assert tab.one.history.item(0).text() == TEXT
    idle(qtbot, tab)


def test_an_answer_is_copied_saved_and_stopped(
    qtbot: Any, make_tab: Callable[..., SentimentTab], classifier: Any, encoder: Any, services: Any, tmp_path: Path
) -> None:
    tab = make_tab(classifier, words=True)
    tab.one.set_text(TEXT)
    qtbot.waitUntil(lambda: tab.one.pane.words.saliency is not None, timeout=20_000)
    tab.one.bar.copy_button.click()
    assert QApplication.clipboard().text().startswith(f"{verdict(tab)}\nnegative\t")
    tab.one.bar.export_button.click()
    dialog = tab.one.findChild(QFileDialog)
    dialog.findChild(QLineEdit).setText(str(tmp_path / "found.json"))
    dialog.accept()
    qtbot.waitUntil((tmp_path / "found.json").is_file, timeout=20_000)
    saved = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert saved["text"] == TEXT
    assert saved["label"] == verdict(tab).lower()
    assert "".join(word["text"] for word in saved["saliency"]) == TEXT.replace(" ", "")
    qtbot.waitUntil(lambda: tab.one.findChild(QFileDialog) is None)
    tab.one.set_text("film " * 2000)
    qtbot.waitUntil(lambda: tab.one._words.busy, timeout=20_000)
    tab.one.bar.stop_button.click()
    qtbot.waitUntil(lambda: not tab.one.busy, timeout=1000)
    assert verdict(tab)  # which had come already
    assert tab.one.pane.words.saliency is None
    assert tab.one.pane.words.view.placeholderText() == "Stopped"
