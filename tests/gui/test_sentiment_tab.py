"""The Sentiment page, with real widgets on tiny models and real files."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent
from PySide6.QtWidgets import QAbstractButton, QFileDialog, QLineEdit

from lmstudio_app.gui.dialogs import ErrorDialog
from lmstudio_app.gui.predictions import TextQuestion, judge_text
from lmstudio_app.gui.tabs.sentiment import SentimentTab
from lmstudio_app.gui.widgets.score_bars import ScoreBars
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.loading import LoadRequest, load_model
from lmstudio_app.settings import Settings, runs_folder
from lmstudio_app.tasks.sentiment import JUDGE

TEXT = "the film was not very good"
TEXTS = [f"{word} {thing} {number}" for number in range(25) for word in ("good", "bad") for thing in ("film", "food")]


@pytest.fixture(scope="module")
def classifier(tiny_classifier: Path) -> Any:
    return load_model(LoadRequest(str(tiny_classifier), precision="float32"), JobContext())


@pytest.fixture
def make_tab(qtbot: Any, services: Any) -> Iterator[Callable[..., SentimentTab]]:
    tabs: list[SentimentTab] = []

    def make(loaded: Any = None) -> SentimentTab:
        tab = SentimentTab(services)
        qtbot.addWidget(tab)
        tabs.append(tab)
        tab.resize(1040, 740)
        if loaded is not None:
            tab.set_model(loaded)
        tab.show()
        return tab

    yield make
    for tab in tabs:
        tab.shutdown()


def expected_label(loaded: Any, text: str) -> Any:
    return next(iter(JUDGE.predict(loaded, [{"text": text}], JobContext(), JUDGE.options(batch_size=1))))


def idle(qtbot: Any, tab: SentimentTab) -> None:
    qtbot.waitUntil(
        lambda: tab.one._handle is None and tab.many._handle is None and not tab.one._timer.isActive(), timeout=20_000
    )


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
    assert "Load a trained model" in tab.empty.title.text()
    with qtbot.waitSignal(tab.step_requested) as asked:
        tab.empty.buttons[-1].click()
    assert asked.args == ["model"]


def test_a_model_without_classes_asks_for_training(
    qtbot: Any, make_tab: Callable[..., SentimentTab], tiny_encoder: Path
) -> None:
    tab = make_tab(load_model(LoadRequest(str(tiny_encoder)), JobContext()))
    assert "not learned any classes" in tab.empty.title.text()
    assert not tab.one.isVisible()
    with qtbot.waitSignal(tab.step_requested) as asked:
        tab.empty.buttons[0].click()
    assert asked.args == ["train"]


@pytest.mark.parametrize(("task", "title"), [("sentiment", "Sentiment"), ("classification", "Text classification")])
def test_a_model_that_was_trained_here_is_offered(
    qtbot: Any, make_tab: Callable[..., SentimentTab], tiny_classifier: Path, app_home: Path, task: str, title: str
) -> None:
    from lmstudio_app.data.splits import DataConfig
    from lmstudio_app.training.recipe import Recipe
    from lmstudio_app.training.runs import create_run

    run = create_run(Recipe(task=task, model="starter:encoder", data=DataConfig(train="uci-sentiment")))
    shutil.copytree(tiny_classifier, run.path / "final")
    run.close()
    assert run.path.parent == runs_folder()
    tab = make_tab()
    qtbot.waitUntil(lambda: len(tab.empty.buttons) == 2, timeout=20_000)
    assert tab.empty.buttons[0].text().startswith(f"Load MiniLM-L6 encoder · {title}, today ")
    with qtbot.waitSignal(tab.load_requested) as asked:
        tab.empty.buttons[0].click()
    assert asked.args == [str(run.path / "final")]


def test_the_answer_follows_the_typing(qtbot: Any, make_tab: Callable[..., SentimentTab], classifier: Any) -> None:
    tab = make_tab(classifier)
    assert tab.one.isVisible()
    assert not tab.one.inspect_button.isEnabled()
    qtbot.keyClicks(tab.one.edit, TEXT)
    qtbot.waitUntil(lambda: bool(tab.one.verdict.text()), timeout=20_000)
    expected = expected_label(classifier, TEXT)
    assert tab.one.verdict.text() == expected.label
    assert [name for name, _ in tab.one.bars.rows] == ["negative", "positive"]
    assert dict(tab.one.bars.rows) == pytest.approx(dict(expected.scores), abs=1e-5)
    assert tab.one.latency.text().endswith(" ms")
    assert tab.one.history.count() == 0  # typed, not yet meant
    qtbot.keyClick(tab.one.edit, Qt.Key.Key_Return)
    assert tab.one.history.count() == 1
    assert TEXT in tab.one.history.item(0).text()
    assert tab.one.edit.toPlainText() == TEXT
    with qtbot.waitSignal(tab.inspect_requested) as asked:
        tab.one.inspect_button.click()
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
    qtbot.waitUntil(lambda: bool(tab.one.verdict.text()), timeout=20_000)
    assert tab.one.verdict.text() == expected_label(classifier, "good\nfilm").label
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
    assert tab.one.verdict.text() == expected_label(classifier, tab.one.edit.toPlainText()).label


def test_an_empty_text_shows_nothing(qtbot: Any, make_tab: Callable[..., SentimentTab], classifier: Any) -> None:
    tab = make_tab(classifier)
    tab.one.set_text(TEXT)
    idle(qtbot, tab)
    tab.one.edit.clear()
    qtbot.waitUntil(lambda: tab.one.verdict.text() == "", timeout=5000)
    assert tab.one.bars.rows == []
    assert not tab.one.inspect_button.isEnabled()


def test_another_model_answers_anew(
    qtbot: Any, make_tab: Callable[..., SentimentTab], classifier: Any, tiny_encoder: Path
) -> None:
    tab = make_tab(classifier)
    tab.one.set_text(TEXT)
    idle(qtbot, tab)
    labels = ("awful", "poor", "fair", "good", "great", "superb", "divine")
    many = load_model(LoadRequest(str(tiny_encoder), head="sequence-classification", labels=labels), JobContext())
    many.card = classifier.card
    tab.set_model(many)
    assert tab.one.history.count() == 0
    idle(qtbot, tab)
    rows = tab.one.bars.rows
    assert {name for name, _ in rows} == set(labels)
    assert [value for _, value in rows] == sorted((value for _, value in rows), reverse=True)
    assert sum(value for _, value in rows) == pytest.approx(1, abs=1e-5)
    assert tab.one.verdict.text() == rows[0][0]


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
    assert tab.one.verdict.text() == ""
    loaded.model.classifier.weight = weights
    tab.one.set_text("good film")
    qtbot.waitUntil(lambda: bool(tab.one.verdict.text()), timeout=20_000)


# --- a file


def test_a_file_is_labelled_sorted_and_saved(
    qtbot: Any, make_tab: Callable[..., SentimentTab], classifier: Any, table_file: Path, tmp_path: Path
) -> None:
    tab = make_tab(classifier)
    many = tab.many
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
    tab.one.set_text(TEXT)  # answered meanwhile
    qtbot.waitUntil(lambda: bool(tab.one.verdict.text()), timeout=20_000)
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
    tab.set_model(classifier)
    assert tab.many.table_model.rowCount() == 0
    assert not tab.many.csv_button.isVisible()
    assert tab.many.classify_button.isVisible()  # the file is still chosen


def test_bad_files_are_told(
    qtbot: Any, make_tab: Callable[..., SentimentTab], classifier: Any, services: Any, table_file: Path, tmp_path: Path
) -> None:
    tab = make_tab(classifier)
    failures: list[Any] = []
    services.model_runner.job_failed.connect(lambda handle, error: failures.append(error))
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
    assert again.one.verdict.text() == expected_label(classifier, TEXT).label


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
    named += [tab.one.edit, tab.one.history, tab.many.column, tab.many.table, tab.one.bars]
    assert len(named) > 12
    for item in named:
        assert item.accessibleName(), item
        assert item.toolTip(), item.accessibleName()
