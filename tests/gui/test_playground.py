"""What the pages that use models share: their frame, models in memory, one question at a time, whole files."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QCoreApplication, QMimeData, QPoint, Qt, QUrl
from PySide6.QtGui import QDropEvent

from lmstudio_app.errors import UserError
from lmstudio_app.gui.asker import Asker
from lmstudio_app.gui.exporting import export_text
from lmstudio_app.gui.playground_page import PlaygroundPage
from lmstudio_app.gui.try_queries import Sample
from lmstudio_app.gui.widgets.answer_bar import AnswerBar
from lmstudio_app.gui.widgets.file_batch import FileBatch
from lmstudio_app.gui.widgets.sample_list import SampleList
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.loading import LoadRequest, load_model
from lmstudio_app.playground.files import part_of
from lmstudio_app.settings import models_folder
from tests.conftest import build_tiny_bert
from tests.playground.test_predict_files import SHOUT, ShoutOptions


def settle(qtbot: Any, services: Any) -> None:
    qtbot.waitUntil(lambda: not any(runner.busy for runner in services.runners()), timeout=20_000)


# --- models that suit


@pytest.fixture
def installed(app_home: Path, tiny_classifier: Path) -> list[Path]:
    """Two classifiers and an encoder without a head in the models folder."""
    folders = [models_folder() / name for name in ("first", "second", "headless")]
    for folder in folders[:2]:
        shutil.copytree(tiny_classifier, folder)
    build_tiny_bert(folders[2])
    return folders


@pytest.fixture
def page(qtbot: Any, services: Any) -> Iterator[PlaygroundPage]:
    from PySide6.QtWidgets import QLabel

    page = PlaygroundPage(services, "sentiment")
    qtbot.addWidget(page, before_close_func=lambda widget: widget.shutdown())
    page.set_body(QLabel("body"))
    page.resize(900, 600)
    yield page
    settle(qtbot, services)


def references(page: PlaygroundPage) -> list[str]:
    return [page.picker.combo.itemData(index) for index in range(page.picker.combo.count())]


def test_a_page_loads_the_first_model_that_suits(
    qtbot: Any, services: Any, page: PlaygroundPage, installed: list[Path]
) -> None:
    with qtbot.waitSignal(page.model_changed, timeout=20_000) as blocker:
        page.show()
    assert blocker.args[0].folder == installed[0]
    assert references(page) == [str(folder) for folder in installed[:2]]
    assert page.picker.state.text().endswith("CPU")
    assert page.loaded is blocker.args[0]


def test_another_model_is_one_choice_away_and_remembered(
    qtbot: Any, services: Any, page: PlaygroundPage, installed: list[Path]
) -> None:
    with qtbot.waitSignal(page.model_changed, timeout=20_000):
        page.show()
    with qtbot.waitSignal(page.model_changed, timeout=20_000) as blocker:
        page.picker.combo.setCurrentIndex(1)
        page.picker.combo.activated.emit(1)
    assert blocker.args[0].folder == installed[1]
    again = PlaygroundPage(services, "sentiment")
    qtbot.addWidget(again, before_close_func=lambda widget: widget.shutdown())
    with qtbot.waitSignal(again.model_changed, timeout=20_000) as blocker:
        again.show()
    assert blocker.args[0] is page.loaded  # from the shelf: it is not loaded twice


def test_without_a_model_the_page_says_what_to_do(qtbot: Any, services: Any, page: PlaygroundPage) -> None:
    page.show()
    qtbot.waitUntil(lambda: page.empty.isVisible() and len(page.empty.buttons) == 3)
    with qtbot.waitSignal(page.starter_requested):
        page.empty.buttons[0].click()
    with qtbot.waitSignal(page.step_requested) as blocker:
        page.empty.buttons[1].click()
    assert blocker.args == ["model"]


def test_a_model_that_is_damaged_is_told_and_the_others_stay(
    qtbot: Any, services: Any, page: PlaygroundPage, installed: list[Path]
) -> None:
    with qtbot.waitSignal(page.model_changed, timeout=20_000):
        page.show()
    settle(qtbot, services)
    (installed[1] / "tokenizer.json").unlink()
    (installed[1] / "tokenizer_config.json").unlink()
    page.use_model(str(installed[1]))
    qtbot.waitUntil(lambda: page.picker.has_problem, timeout=20_000)
    assert page.loaded is None
    with qtbot.waitSignal(page.model_changed, timeout=20_000):
        page.use_model(str(installed[0]))
    assert not page.picker.has_problem


def test_the_model_of_the_model_page_is_taken_when_it_suits(
    qtbot: Any, services: Any, page: PlaygroundPage, tiny_classifier: Path, tiny_encoder: Path
) -> None:
    encoder = load_model(LoadRequest(str(tiny_encoder), device="cpu"), JobContext())
    page.set_model(encoder)
    assert page.reference == ""
    classifier = load_model(LoadRequest(str(tiny_classifier), device="cpu"), JobContext())
    with qtbot.waitSignal(page.model_changed) as blocker:
        page.set_model(classifier)
    assert blocker.args[0] is classifier


def test_the_shelf_makes_room_for_the_newest(
    qtbot: Any, services: Any, installed: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lmstudio_app.gui import model_shelf

    loaded: list[Any] = []
    gone: list[Any] = []
    services.shelf.let_go.connect(gone.append)

    def take(folder: Path) -> Any:
        with qtbot.waitSignal(services.shelf.take(str(folder)).succeeded, timeout=20_000) as blocker:
            pass
        loaded.append(blocker.args[0])
        return blocker.args[0]

    first = take(installed[0])
    assert take(installed[0]) is first
    monkeypatch.setattr(model_shelf, "MEMORY_SHARE", 1e-9)
    second = take(installed[1])
    QCoreApplication.processEvents()
    assert gone == [first]
    assert take(installed[1]) is second
    assert take(installed[0]) is not first


# --- one question at a time


def _slow(stops: bool, ctx: JobContext) -> str:
    for _ in range(500):
        if stops and ctx.stopping:
            return "half"
        ctx.check()
        time.sleep(0.01)
    return "whole"


def _quick(value: Any, ctx: JobContext) -> Any:
    if isinstance(value, Exception):
        raise value
    return value


@pytest.fixture
def heard(qtbot: Any, services: Any) -> Iterator[tuple[Asker, list[Any]]]:
    asker, said = Asker(services.answer_runner), []
    asker.succeeded.connect(lambda outcome: said.append(("succeeded", outcome)))
    asker.failed.connect(lambda error: said.append(("failed", error.message)))
    asker.stopped.connect(lambda: said.append("stopped"))
    asker.ended.connect(lambda: said.append("ended"))
    asker.busy_changed.connect(lambda busy: said.append(busy))
    yield asker, said
    asker.drop()


@pytest.mark.parametrize(("stops", "outcome"), [(True, ("succeeded", "half")), (False, "stopped")])
def test_an_answer_ends_within_a_fifth_of_a_second(
    qtbot: Any, heard: tuple[Asker, list[Any]], stops: bool, outcome: Any
) -> None:
    asker, said = heard
    asker.ask(_slow, stops)
    qtbot.wait(50)
    start = time.monotonic()
    asker.stop()
    assert asker.stopping
    qtbot.waitUntil(lambda: not asker.busy, timeout=2000)
    assert time.monotonic() - start < 0.2
    assert said == [True, outcome, False, "ended"]


def test_of_an_older_question_nothing_is_heard(qtbot: Any, heard: tuple[Asker, list[Any]]) -> None:
    asker, said = heard
    asker.ask(_slow, False)
    asker.ask(_quick, "new")
    qtbot.waitUntil(lambda: "ended" in said, timeout=5000)
    assert said == [True, ("succeeded", "new"), False, "ended"]


def test_a_failing_question_is_heard_and_a_dropped_one_is_not(qtbot: Any, heard: tuple[Asker, list[Any]]) -> None:
    asker, said = heard
    asker.ask(_quick, UserError("It went wrong.", "Mend it."))
    qtbot.waitUntil(lambda: "ended" in said, timeout=5000)
    assert said == [True, ("failed", "It went wrong."), False, "ended"]
    said.clear()
    asker.ask(_slow, False)
    asker.drop()
    qtbot.wait(200)
    assert said == [True, False]


# --- buttons, samples, keeping an answer


def test_the_buttons_follow_what_is_going_on(qtbot: Any) -> None:
    from PySide6.QtWidgets import QPlainTextEdit, QVBoxLayout, QWidget

    page = QWidget()
    qtbot.addWidget(page)
    edit, bar = QPlainTextEdit(page), AnswerBar("Translate", "Translate the text", page)
    layout = QVBoxLayout(page)
    layout.addWidget(edit)
    layout.addWidget(bar)
    with qtbot.waitActive(page):
        page.show()
        page.activateWindow()
    edit.setFocus()
    assert not bar.run_button.isEnabled()
    bar.set_ready(True)
    with qtbot.waitSignal(bar.run_requested):
        qtbot.keyClick(edit, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    bar.set_busy(True)
    assert not bar.run_button.isEnabled()
    with qtbot.waitSignal(bar.stop_requested):
        qtbot.keyClick(edit, Qt.Key.Key_Escape)
    bar.set_busy(False)
    bar.set_result(2.0, 50)
    bar.set_has_answer(True)
    assert bar.time.text() == "2.0 s, 25.0 tokens/s"
    with qtbot.waitSignal(bar.copy_requested):
        bar.copy_button.click()
    with qtbot.waitSignal(bar.export_requested):
        bar.export_button.click()


def test_samples_are_one_click_away(qtbot: Any) -> None:
    samples = SampleList()
    qtbot.addWidget(samples)
    samples.set_samples([Sample("en", {"text": "one"}), Sample("en", {"text": "two"})])
    with qtbot.waitSignal(samples.chosen) as blocker:
        samples.buttons[1].click()
    assert blocker.args == [{"text": "two"}]
    samples.set_samples([])
    assert samples.isHidden()


@pytest.mark.parametrize(("name", "expected"), [("kept.txt", "plain"), ("kept.jsonl", '{"text": "plain"}\n')])
def test_an_answer_is_kept_in_the_form_of_its_suffix(
    qtbot: Any, services: Any, tmp_path: Path, name: str, expected: str
) -> None:
    from PySide6.QtWidgets import QWidget

    parent = QWidget()
    qtbot.addWidget(parent)
    saved: list[Path] = []
    texts = {".txt": "plain", ".jsonl": '{"text": "plain"}\n'}
    dialog = export_text(parent, services.settings, services.query_runner, "answer", texts, saved.append)
    dialog.fileSelected.emit(str(tmp_path / name))
    dialog.close()
    qtbot.waitUntil(lambda: bool(saved))
    assert (tmp_path / name).read_text(encoding="utf-8") == expected
    assert services.settings.get("export.folder", "") == str(tmp_path)


# --- whole files


@pytest.fixture
def make_batch(qtbot: Any, services: Any) -> Iterator[Callable[..., FileBatch]]:
    def _make(**options: Any) -> FileBatch:
        batch = FileBatch(services, "sentiment")
        qtbot.addWidget(batch, before_close_func=lambda widget: widget.shutdown())
        batch.set_prediction(SHOUT, needs_model=False)
        batch.set_options(lambda: ShoutOptions(**options))
        batch.resize(800, 600)
        batch.show()
        return batch

    yield _make
    settle(qtbot, services)


def rows(path: Path, count: int) -> Path:
    path.write_text("".join(json.dumps({"text": f"row {n}"}) + "\n" for n in range(count)), encoding="utf-8")
    return path


def open_file(qtbot: Any, batch: FileBatch, path: Path) -> None:
    batch.open_file(path)
    qtbot.waitUntil(lambda: batch.run_button.isVisible() and batch.run_button.isEnabled(), timeout=10_000)


def test_a_file_goes_through(qtbot: Any, make_batch: Callable[..., FileBatch], tmp_path: Path) -> None:
    batch = make_batch()
    assert "drop one here" in batch.hint.text()
    open_file(qtbot, batch, rows(tmp_path / "in.jsonl", 700))
    batch.run_button.click()
    qtbot.waitUntil(lambda: batch.report is not None, timeout=20_000)
    output = tmp_path / "in-shout.jsonl"
    assert [json.loads(line)["text"] for line in output.read_text().splitlines()] == [f"ROW {n}!" for n in range(700)]
    assert batch.table.rows == 500
    model = batch.table.model()
    assert [model.headerData(c, Qt.Orientation.Horizontal) for c in range(3)] == ["text (input)", "text", "scores_loud"]
    assert model.index(3, 1).data() == "ROW 3!"
    assert batch.reveal_button.isVisible()


def test_a_stopped_file_goes_on(qtbot: Any, make_batch: Callable[..., FileBatch], tmp_path: Path) -> None:
    batch = make_batch(pause=0.01)
    open_file(qtbot, batch, rows(tmp_path / "in.jsonl", 100))
    batch.run_button.click()
    qtbot.waitUntil(lambda: batch.table.rows >= 5, timeout=10_000)
    start = time.monotonic()
    batch.stop_button.click()
    qtbot.waitUntil(lambda: not batch.stop_button.isVisible())
    assert time.monotonic() - start < 0.2
    assert batch.run_button.text() == "Go on"
    assert part_of(tmp_path / "in-shout.jsonl").exists()
    batch.run_button.click()
    qtbot.waitUntil(lambda: batch.report is not None, timeout=20_000)
    assert batch.report is not None
    assert batch.report.continued >= 5
    assert batch.table.rows == 100
    assert batch.run_button.text() == "Run"


def test_a_table_has_its_columns_chosen(qtbot: Any, make_batch: Callable[..., FileBatch], tmp_path: Path) -> None:
    batch = make_batch()
    (tmp_path / "in.csv").write_text("title,review\nA,a fine film it was\nB,no good at all really\n")
    open_file(qtbot, batch, tmp_path / "in.csv")
    assert batch.boxes["text"].currentData() == "review"
    batch.boxes["text"].choose("title")
    batch.set_output(tmp_path / "out.csv")
    batch.run_button.click()
    qtbot.waitUntil(lambda: batch.report is not None, timeout=10_000)
    assert (tmp_path / "out.csv").read_text(encoding="utf-8-sig").splitlines() == [
        "text,output_text,scores_loud",
        "A,A!,1.0",
        "B,B!,1.0",
    ]


def test_a_file_may_be_dropped(qtbot: Any, make_batch: Callable[..., FileBatch], tmp_path: Path) -> None:
    batch = make_batch()
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(rows(tmp_path / "in.jsonl", 2)))])
    event = QDropEvent(
        QPoint(5, 5), Qt.DropAction.CopyAction, data, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    )
    batch.dropEvent(event)
    qtbot.waitUntil(lambda: batch.run_button.isVisible() and batch.run_button.isEnabled(), timeout=10_000)
    assert batch.summary.text() == "2 rows"


@pytest.mark.parametrize("content", ['{"text": 5}\n', "not json\n"])
def test_a_bad_row_is_told_on_the_page(
    qtbot: Any, make_batch: Callable[..., FileBatch], tmp_path: Path, content: str
) -> None:
    batch = make_batch()
    path = tmp_path / "in.jsonl"
    path.write_text('{"text": "a"}\n' + content)
    batch.open_file(path)
    qtbot.waitUntil(lambda: bool(batch.notice.text()) or batch.run_button.isEnabled(), timeout=10_000)
    if not batch.notice.text():
        batch.run_button.click()
    qtbot.waitUntil(lambda: bool(batch.notice.text()), timeout=10_000)
    assert "ine 2" in batch.notice.text()
    assert not (tmp_path / "in-shout.jsonl").exists()


def test_a_page_without_a_model_cannot_run(qtbot: Any, services: Any, tmp_path: Path) -> None:
    batch = FileBatch(services, "sentiment")
    qtbot.addWidget(batch, before_close_func=lambda widget: widget.shutdown())
    batch.show()
    batch.open_file(rows(tmp_path / "in.jsonl", 2))
    qtbot.waitUntil(lambda: batch.run_button.isVisible(), timeout=10_000)
    settle(qtbot, services)
    assert not batch.run_button.isEnabled()
    assert "model is needed" in batch.hint.text()
