import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent
from PySide6.QtWidgets import QApplication, QFileDialog, QLabel

from lmstudio_app.errors import UserError
from lmstudio_app.gui.dialogs import ErrorDialog, QuestionDialog
from lmstudio_app.gui.main_window import MainWindow
from lmstudio_app.gui.pages import PAGES
from lmstudio_app.gui.text import number_text
from lmstudio_app.gui.widgets.job_strip import JobStrip
from lmstudio_app.jobs import JobContext
from lmstudio_app.settings import Settings


@pytest.fixture
def make_window(qtbot) -> Iterator[Callable[[], MainWindow]]:
    """Windows that are closed, and their jobs ended, after the test."""
    made: list[MainWindow] = []

    def _make() -> MainWindow:
        window = MainWindow()
        made.append(window)
        window.show()
        return window

    yield _make
    for window in made:
        window._shut_down()
        window.close()
        window.deleteLater()


@pytest.fixture
def window(make_window) -> MainWindow:
    return make_window()


def wait_for_cancel(_: None, ctx: JobContext) -> None:
    meter = ctx.meter(1000, "rows")
    done = 0
    while True:
        meter.update(min(done, 990))
        done += 1
        time.sleep(0.005)


def wait_in_vain(_: None, ctx: JobContext) -> None:
    time.sleep(1.5)


def fail(_: None, ctx: JobContext) -> None:
    raise UserError("No {thing}.", "Get one.", thing="luck")


def error_dialogs(window: MainWindow) -> list[ErrorDialog]:
    return [dialog for dialog in window.findChildren(ErrorDialog) if dialog.isVisible()]


def test_the_window_begins_at_the_first_step_and_says_what_each_one_needs(window: MainWindow) -> None:
    assert window.current_tab == "model"
    assert {button.text(): button.detail for button in window.rail.buttons} == {
        "Model": "Start here",
        "Data": "Nothing chosen yet",
        "Train": "Needs a model and data",
        "Runs": "Find, compare, repeat",
        "Translate": "Into another language",
        "Summarise": "The gist of a text",
        "Sentiment": "Judge texts",
        "Questions": "Ask documents",
        "Chat": "Talk with a model",
        "Try": "Needs a model",
        "Attention": "Needs a model",
    }
    assert not any(button.done for button in window.rail.buttons)


def test_every_step_has_an_accessible_name_and_a_tooltip(window: MainWindow) -> None:
    for button in window.rail.buttons:
        assert button.accessibleName()
        assert button.accessibleDescription() == button.detail
        assert button.toolTip()


def test_tabs_are_built_when_they_are_first_shown(window: MainWindow) -> None:
    assert set(window._tabs) == {"model"}
    window.show_tab("train")
    assert set(window._tabs) == {"model", "train"}


@pytest.mark.parametrize("number", range(len(PAGES)))
def test_shortcuts_go_to_the_steps(window: MainWindow, qtbot, number: int) -> None:
    window.activateWindow()
    key = PAGES[number].shortcut.removeprefix("Ctrl+")
    qtbot.keyClick(window, getattr(Qt.Key, f"Key_{key}"), Qt.KeyboardModifier.ControlModifier)
    assert window.current_tab == PAGES[number].name


def test_arrow_keys_walk_along_the_rail(window: MainWindow, qtbot) -> None:
    window.rail.buttons[0].setFocus()
    qtbot.keyClick(window.rail.buttons[0], Qt.Key.Key_Up)
    assert window.current_tab == "model"
    qtbot.keyClick(window.rail.buttons[0], Qt.Key.Key_Down)
    assert window.current_tab == "data"


def test_tab_and_geometry_are_remembered(make_window, qtbot) -> None:
    first = make_window()
    first.resize(790, 700)
    first.show_tab("train")
    assert first.close()
    assert json.loads(Settings().path.read_text())["values"]["window.tab"] == "train"
    second = make_window()
    assert second.current_tab == "train"
    assert (second.width(), second.height()) == (first.width(), first.height())


@pytest.mark.parametrize("value", ["zz", 3, None, "00"])
def test_nonsense_in_the_settings_is_survived(make_window, value: object) -> None:
    settings = Settings()
    settings.set("window.geometry", value)
    settings.set("window.tab", value)
    assert make_window().current_tab == "model"


def test_changes_are_written_after_a_moment_and_not_in_the_windows_thread(window: MainWindow, qtbot) -> None:
    window.settings.set("a.b", 1)
    assert Settings().get("a.b") is None
    qtbot.waitUntil(lambda: Settings().get("a.b") == 1)


def test_a_failed_job_opens_a_dialog_and_the_window_lives_on(window: MainWindow, qtbot) -> None:
    handle = window.services.query_runner.start(fail, None)
    with qtbot.waitSignal(handle.finished):
        pass
    (dialog,) = error_dialogs(window)
    assert (dialog.text(), dialog.informativeText()) == ("No luck.", "Get one.")
    qtbot.mouseClick(dialog.copy_button, Qt.MouseButton.LeftButton)
    copied = QApplication.clipboard().text()
    assert "No luck." in copied
    assert "Traceback" in copied
    assert "lmstudio-app" in copied
    assert dialog.isVisible()
    window.show_tab("train")
    assert window.current_tab == "train"
    qtbot.keyClick(dialog, Qt.Key.Key_Escape)
    assert not error_dialogs(window)


def test_the_same_failure_twice_is_one_dialog(window: MainWindow, qtbot) -> None:
    for _ in range(2):
        handle = window.services.query_runner.start(fail, None)
        with qtbot.waitSignal(handle.finished):
            pass
    assert len(error_dialogs(window)) == 1


def test_a_quiet_job_is_the_callers_affair(window: MainWindow, qtbot) -> None:
    handle = window.services.query_runner.start(fail, None, quiet=True)
    with qtbot.waitSignal(handle.finished):
        pass
    assert not error_dialogs(window)


def test_the_status_bar_shows_the_running_job_and_cancels_it(window: MainWindow, qtbot) -> None:
    strips = window.findChildren(JobStrip)
    assert not any(strip.isVisible() for strip in strips)
    handle = window.services.model_runner.start(wait_for_cancel, None, title="Reading the stars")
    qtbot.waitUntil(lambda: any(strip.isVisible() for strip in strips))
    (strip,) = [strip for strip in strips if strip.isVisible()]
    qtbot.waitUntil(lambda: f"of {number_text(1000)} rows" in strip._amount.text())
    assert strip._sentence.text() == "Reading the stars"
    assert strip._bar.maximum() == 1000
    with qtbot.waitSignal(handle.cancelled):
        qtbot.mouseClick(strip._cancel, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not strip.isVisible())


def test_closing_without_a_job_closes(window: MainWindow) -> None:
    assert window.close()
    assert not window.isVisible()


def test_closing_with_a_job_asks_and_no_keeps_it_running(window: MainWindow, qtbot) -> None:
    handle = window.services.training_runner.start(wait_for_cancel, None)
    assert not window.close()
    question = window.close_question
    assert isinstance(question, QuestionDialog)
    assert "resume" in question.informativeText()
    qtbot.mouseClick(question.no_button, Qt.MouseButton.LeftButton)
    qtbot.wait(50)
    assert window.isVisible()
    assert handle.running


def test_closing_with_a_job_and_yes_stops_it_first(window: MainWindow, qtbot) -> None:
    handle = window.services.training_runner.start(wait_for_cancel, None)
    window.close()
    ended = []
    handle.cancelled.connect(lambda: ended.append(window.isVisible()))
    qtbot.mouseClick(window.close_question.yes_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not window.isVisible())
    assert ended == [True]


def test_a_job_that_does_not_end_holds_the_window_no_longer_than_it_may(
    window: MainWindow, qtbot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmstudio_app.gui.main_window.STOP_TIMEOUT", 0.3)
    window.services.training_runner.start(wait_in_vain, None)
    qtbot.wait(50)
    window.close()
    start = time.monotonic()
    qtbot.mouseClick(window.close_question.yes_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not window.isVisible())
    assert time.monotonic() - start < 1.4
    qtbot.wait(1500)  # the thread ends on its own


def test_quiet_jobs_do_not_hold_up_the_closing(window: MainWindow, qtbot) -> None:
    handle = window.services.query_runner.start(wait_for_cancel, None, quiet=True)
    assert window.close()
    assert not handle.running


@pytest.mark.parametrize("action", ["Open model folder…", "Open data file…"])
def test_file_dialogs_do_not_stop_the_window(window: MainWindow, qtbot, action: str, tmp_path: Path) -> None:
    (trigger,) = [a for a in window.menuBar().actions()[0].menu().actions() if a.text().replace("&", "") == action]
    opened: list[str] = []
    window.open_model = window.open_data = opened.append  # type: ignore[method-assign]
    trigger.trigger()
    (dialog,) = window.findChildren(QFileDialog)
    assert dialog.isVisible()
    dialog.fileSelected.emit(str(tmp_path))
    assert opened == [str(tmp_path)]
    dialog.close()


def test_dropping_a_folder_is_a_model_and_a_file_is_data(
    window: MainWindow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[str, str]] = []
    monkeypatch.setattr(window, "open_model", lambda path: opened.append(("model", path)))
    monkeypatch.setattr(window, "open_data", lambda path: opened.append(("data", path)))
    table = tmp_path / "rows.csv"
    table.touch()
    for path in (tmp_path, table):
        mime = QMimeData()
        mime.setUrls([QUrl.fromLocalFile(str(path))])
        window.dropEvent(
            QDropEvent(
                QPointF(QPoint(5, 5)),
                Qt.DropAction.CopyAction,
                mime,
                Qt.MouseButton.LeftButton,
                Qt.KeyboardModifier.NoModifier,
            )
        )
    assert opened == [("model", str(tmp_path)), ("data", str(table))]


def test_a_loaded_model_is_handed_down_and_shown(window: MainWindow, qtbot, tiny_classifier: Path) -> None:
    window.show_tab("train")
    window.open_model(str(tiny_classifier), then="sentiment")
    qtbot.waitUntil(lambda: window.model is not None, timeout=60_000)
    qtbot.waitUntil(lambda: window.current_tab == "sentiment")
    assert window.rail.buttons[0].done
    assert window.rail.buttons[0].detail == tiny_classifier.name
    assert window.rail.buttons[2].detail == "Needs data"
    assert window.tab("train").panel.requirements.value("model") == tiny_classifier.name
    assert any(tiny_classifier.name in label.text() for label in window.statusBar().findChildren(QLabel))


def test_a_model_that_does_not_load_leaves_the_old_one(
    window: MainWindow, qtbot, tiny_classifier: Path, tmp_path: Path
) -> None:
    window.open_model(str(tiny_classifier))
    qtbot.waitUntil(lambda: window.model is not None, timeout=60_000)
    before = window.model
    qtbot.waitUntil(lambda: not window.services.model_runner.busy)
    window.open_model(str(tmp_path), then="attention")
    qtbot.waitUntil(lambda: not window.services.model_runner.busy and not window.services.query_runner.busy)
    assert window.model is before
    assert window._after_load is None
    assert window.current_tab == "model"


def test_the_report_goes_to_the_clipboard(window: MainWindow, qtbot) -> None:
    window.menus.copy_report()
    qtbot.waitUntil(lambda: "clipboard" in window.statusBar().currentMessage(), timeout=60_000)
    assert "Python" in QApplication.clipboard().text()


def test_themes_and_text_sizes_are_in_the_view_menu(window: MainWindow, qtbot) -> None:
    actions = {
        action.text().replace("&", ""): action
        for menu in window.menuBar().actions()
        for action in menu.menu().actions()
    }
    actions["Dark"].trigger()
    assert window.look.name == "dark"
    assert actions["Dark"].isChecked()
    assert not actions["Light"].isChecked()
    actions["Larger text"].trigger()
    assert window.look.text_size == 1
    actions["Normal text"].trigger()
    actions["Colours of the system"].trigger()
    assert (window.look.text_size, window.look.name) == (0, "system")
