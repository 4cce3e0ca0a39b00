"""The Data page on real files: what is shown, what can be mended with one click, and what is offered to a training."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent, QGuiApplication
from PySide6.QtWidgets import QApplication, QFileDialog, QPushButton

from lmstudio_app.data.splits import DataConfig, DataSelection, prepare_data
from lmstudio_app.gui.tabs.data import DataTab
from lmstudio_app.gui.theme import Theme
from lmstudio_app.gui.widgets.problem_list import fix_text, problem_text
from lmstudio_app.gui.widgets.rejected_dialog import RejectedDialog
from lmstudio_app.jobs import JobContext
from lmstudio_app.tasks import find_task

TIMEOUT = 15_000


@pytest.fixture
def make_tab(qtbot: Any, services: Any) -> Iterator[Callable[[], DataTab]]:
    made: list[DataTab] = []

    def make() -> DataTab:
        tab = DataTab(services)
        qtbot.addWidget(tab)
        tab.resize(1072, 760)
        tab.show()
        made.append(tab)
        return tab

    yield make
    for tab in made:
        tab.shutdown()
        tab.close()


@pytest.fixture
def put(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def table_text(rows: int = 40, mark: str = ",") -> str:
    lines = [f"a {'great' if i % 2 else 'bad'} film number {i}{mark}{i % 2}" for i in range(rows)]
    return "\n".join([f"text{mark}label", *lines]) + "\n"


def settle(qtbot: Any, tab: DataTab, source: Any = None) -> None:
    """Wait until ``source`` is open, checked and measured."""
    if source is not None:
        tab.open_source(source)
    services = tab._services

    def quiet() -> None:
        assert not services.model_runner.busy
        assert not services.query_runner.busy
        assert not tab._rest.isActive()
        assert tab.opened is not None
        assert tab.view.lengths is not None

    qtbot.waitUntil(quiet, timeout=TIMEOUT)
    QApplication.processEvents()


def kinds(tab: DataTab) -> list[str]:
    return [problem.kind for problem in tab.view.problems]


def button(tab: DataTab, fix: str) -> QPushButton:
    return next(row.buttons[fix] for row in tab.view.problem_list.rows if fix in row.buttons)


def test_the_first_visit_opens_the_bundled_sentences(qtbot: Any, make_tab: Callable[[], DataTab]) -> None:
    tab = make_tab()
    with qtbot.waitSignal(tab.data_chosen, timeout=TIMEOUT) as chosen:
        pass
    settle(qtbot, tab)
    selection: DataSelection = chosen.args[0]
    assert (selection.config.train, selection.task) == ("uci-sentiment", "sentiment")
    assert selection.config.columns == {"text": "text", "label": "label"}
    splits = prepare_data(selection.config, find_task("sentiment").columns, JobContext())
    assert (len(splits.train), len(splits.eval)) == (1800, 200)
    view = tab.view
    assert view.figures.figures["eval"].value().replace(",", "") == "200"
    assert "CC BY 4.0" in view.detail.text()
    assert view.preview.rows.rowCount() == 2000
    assert view.classes is not None
    assert view.classes.labels == ["0", "1"]
    assert view.lengths is not None
    assert view.lengths.quantile_95 > 0
    assert kinds(tab) == ["duplicates"]


def test_a_single_notice_is_seen_whole(qtbot: Any, qapp: Any, make_tab: Callable[[], DataTab], services: Any) -> None:
    look = Theme(qapp, services.settings)
    try:
        tab = make_tab()
        settle(qtbot, tab)
        (row,) = tab.view.problem_list.rows

        def seen_whole() -> None:
            assert tab.view.problem_list._area.verticalScrollBar().maximum() == 0
            assert row.label.height() >= row.label.heightForWidth(row.label.width())

        for size in (0, 4):
            look.set_text_size(size)
            qtbot.waitUntil(seen_whole)
    finally:
        look.set_text_size(0)
        qapp.setStyleSheet("")


def test_a_dropped_file_is_read_remembered_and_offered(
    qtbot: Any, make_tab: Callable[[], DataTab], put: Any, services: Any
) -> None:
    tab = make_tab()
    settle(qtbot, tab)
    path = put("mine.csv", table_text())
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path))])
    event = QDropEvent(
        QPointF(50, 50),
        Qt.DropAction.CopyAction,
        mime,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    with qtbot.waitSignal(tab.data_chosen, timeout=TIMEOUT) as chosen:
        tab.dropEvent(event)
    assert event.isAccepted()
    assert (chosen.args[0].config.train, chosen.args[0].title) == (str(path), "mine.csv")
    assert services.settings.get("data.source") == str(path)
    settle(qtbot, tab)
    again = make_tab()
    settle(qtbot, again)
    assert again.selection is not None
    assert again.selection.config.train == str(path)
    titles = [row.title for row in again.panel.list.rows]
    assert titles[titles.index("Your files") + 1] == "mine.csv"
    path.unlink()
    third = make_tab()
    settle(qtbot, third)
    assert third.selection is not None
    assert third.selection.config.train == "uci-sentiment"


def test_files_are_chosen_in_a_dialog(
    qtbot: Any, make_tab: Callable[[], DataTab], put: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tab = make_tab()
    settle(qtbot, tab)
    files = [str(put(name, table_text(20))) for name in ("one.csv", "two.csv")]

    def answer(*args: Any) -> tuple[list[str], str]:
        return files, ""

    monkeypatch.setattr(QFileDialog, "getOpenFileNames", answer)
    qtbot.mouseClick(tab.panel.open_button, Qt.MouseButton.LeftButton)
    settle(qtbot, tab)
    assert tab.selection is not None
    assert tab.selection.config.train == files
    assert tab.selection.title == "one.csv and 1 more"
    assert tab.report is not None
    assert tab.report.rows == 40


def test_wrong_columns_are_corrected_by_hand(qtbot: Any, make_tab: Callable[[], DataTab], put: Any) -> None:
    rows = [f"a long enough comment {i},{i % 3},{i % 2}" for i in range(60)]
    path = put("columns.csv", "remark,shelf,liked\n" + "\n".join(rows) + "\n")
    tab = make_tab()
    settle(qtbot, tab, path)
    form = tab.panel.form
    assert form.columns()["text"] == "remark"
    box = form.column_box("label")
    with qtbot.waitSignal(tab.data_chosen, timeout=TIMEOUT) as chosen:
        other = "shelf" if box.currentData() == "liked" else "liked"
        box.setCurrentIndex(box.findData(other))
    assert chosen.args[0].config.columns == {"text": "remark", "label": other}
    header = [
        tab.view.preview.rows.headerData(column, Qt.Orientation.Horizontal)
        for column in range(tab.view.preview.rows.columnCount())
    ]
    assert f"{other} → Label" in header
    text_box = form.column_box("text")
    text_box.setCurrentIndex(text_box.findData(other))  # a column feeds one input, so the label gets another
    assert len(set(form.columns().values())) == 2
    settle(qtbot, tab)


def test_a_column_that_cannot_be_guessed_is_asked_for(qtbot: Any, make_tab: Callable[[], DataTab], put: Any) -> None:
    tab = make_tab()
    settle(qtbot, tab)
    path = put("texts.txt", "\n".join(f"just a text {i}" for i in range(30)))
    with qtbot.waitSignal(tab.data_chosen, timeout=TIMEOUT) as chosen:
        tab.open_source(path)
    assert chosen.args[0] is None  # the window must not train on what is no longer shown
    settle(qtbot, tab)
    assert kinds(tab) == ["failed"]
    assert problem_text(tab.view.problems[0]).startswith("No column for label was found among: text.")
    assert tab.panel.form.column_box("label").currentText() == "choose a column"


def test_the_split_is_changed(qtbot: Any, make_tab: Callable[[], DataTab], put: Any) -> None:
    tab = make_tab()
    settle(qtbot, tab, put("data.csv", table_text(100)))
    with qtbot.waitSignal(tab.data_chosen, timeout=TIMEOUT) as chosen:
        tab.panel.form.fraction.setValue(30)
    assert chosen.args[0].config.eval_fraction == 0.3
    assert tab.report is not None
    assert (tab.report.train_rows, tab.report.eval_rows) == (70, 30)
    assert tab._settings.get("data.eval_fraction") == 0.3


def test_another_file_evaluates_and_leakage_is_mended(
    qtbot: Any, make_tab: Callable[[], DataTab], put: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tab = make_tab()
    settle(qtbot, tab, put("train.csv", table_text(60)))
    held = put("held.csv", "sentence,class\n" + "\n".join(table_text(10).splitlines()[1:]) + "\nnew one,1\n")

    def answer(*args: Any) -> tuple[str, str]:
        return str(held), ""

    monkeypatch.setattr(QFileDialog, "getOpenFileName", answer)
    form = tab.panel.form
    with qtbot.waitSignal(tab.data_chosen, timeout=TIMEOUT) as chosen:
        form.eval_box.setCurrentIndex(form.eval_box.findData("open"))
        form.eval_box.activated.emit(form.eval_box.currentIndex())
    assert chosen.args[0].config.eval == str(held)
    assert form.eval_box.currentText() == "held.csv"
    assert not form.fraction.isVisible()
    assert "leakage" in kinds(tab)
    with qtbot.waitSignal(tab.data_chosen, timeout=TIMEOUT):
        button(tab, "deduplicate").click()
    assert form.deduplicate.isChecked()
    assert tab.report is not None
    assert (tab.report.leakage, tab.report.removed, tab.report.train_rows) == (0, 10, 50)
    with qtbot.waitSignal(tab.data_chosen, timeout=TIMEOUT) as chosen:
        form.eval_box.setCurrentIndex(form.eval_box.findData("part"))
        form.eval_box.activated.emit(0)
    assert chosen.args[0].config.eval is None
    settle(qtbot, tab)


def test_a_wrong_delimiter_is_mended_with_a_click(qtbot: Any, make_tab: Callable[[], DataTab], put: Any) -> None:
    tab = make_tab()
    settle(qtbot, tab, put("semi.csv", table_text(mark=";")))
    box = tab.panel.form.reading_box("delimiter")
    assert box.itemText(0) == "Auto: semicolon"
    box.setCurrentIndex(box.findData("|"))
    settle(qtbot, tab)
    assert tab.view.preview.rows.columnCount() == 1
    assert tab.selection is None
    with qtbot.waitSignal(tab.data_chosen, timeout=TIMEOUT) as chosen:
        button(tab, "delimiter=;").click()
    assert chosen.args[0].config.options == {"delimiter": ";"}
    assert tab.report is not None
    assert tab.report.rows == 40
    settle(qtbot, tab)


def test_another_encoding_is_chosen_with_a_click(qtbot: Any, make_tab: Callable[[], DataTab], put: Any) -> None:
    text = "text,label\n" + "".join(f"这部电影很好看，第{i}集,{i % 2}\n" for i in range(30))
    tab = make_tab()
    settle(qtbot, tab, put("gbk.csv", text.encode("gbk")))
    assert tab.view.preview.rows.value(0, 0) == "这部电影很好看，第0集"
    assert fix_text("encoding=cp1252") == "Read as Windows-1252"
    button(tab, "encoding=latin-1").click()
    settle(qtbot, tab)
    assert tab.opened is not None
    assert tab.opened.table.facts["encoding"] == "latin-1" or tab.opened.table.facts["encoding"] == "iso8859-1"
    box = tab.panel.form.reading_box("encoding")
    box.setCurrentIndex(box.findData("gb18030"))
    settle(qtbot, tab)
    assert tab.view.preview.rows.value(0, 0) == "这部电影很好看，第0集"
    assert tab.selection is not None
    assert tab.selection.config.options == {"encoding": "gb18030"}


def test_a_missing_header_is_mended_with_a_click(qtbot: Any, make_tab: Callable[[], DataTab], put: Any) -> None:
    tab = make_tab()
    settle(qtbot, tab, put("headless.csv", table_text().split("\n", 1)[1]))
    assert tab.opened is not None
    assert list(tab.opened.types) == ["column 1", "column 2"]
    assert tab.selection is not None
    button(tab, "header=true").click()
    settle(qtbot, tab)
    assert list(tab.opened.types) == ["a bad film number 0", "0"]


def test_rows_set_aside_are_listed_and_lines_are_shown(qtbot: Any, make_tab: Callable[[], DataTab], put: Any) -> None:
    lines = table_text(300).splitlines()
    lines[200] = "one, two, three, four"
    lines[250] = ",1"
    tab = make_tab()
    settle(qtbot, tab, put("ragged.csv", "\n".join(lines) + "\n"))
    assert {"ragged", "missing:text"} <= set(kinds(tab))
    assert tab.view.figures.figures["left_out"].value() == "2"
    row = next(row for row in tab.view.problem_list.rows if row.problem.kind == "missing:text")
    row.buttons[""].click()
    preview = tab.view.preview
    assert preview.rows.headerData(preview.currentIndex().row(), Qt.Orientation.Vertical) == 251
    button(tab, "rejected").click()
    qtbot.waitUntil(lambda: bool(tab.findChildren(RejectedDialog)), timeout=TIMEOUT)
    dialog = tab.findChildren(RejectedDialog)[0]
    assert [dialog.table.item(0, column).text() for column in range(3)] == [
        "201",
        "4 fields instead of 2",
        "one, two, three, four",
    ]
    assert dialog.open_button.isEnabled()
    dialog.close()


def test_one_class_is_not_offered_to_a_training(qtbot: Any, make_tab: Callable[[], DataTab], put: Any) -> None:
    tab = make_tab()
    settle(qtbot, tab, put("one.csv", table_text().replace(",0\n", ",1\n")))
    assert kinds(tab)[0] == "one_class"
    assert tab.selection is None
    assert not tab.view.continue_button.isVisible()
    settle(qtbot, tab, put("two.csv", table_text()))
    with qtbot.waitSignal(tab.step_requested) as asked:
        qtbot.mouseClick(tab.view.continue_button, Qt.MouseButton.LeftButton)
    assert asked.args == ["train"]


def test_a_file_that_cannot_be_read_leaves_what_was_open(qtbot: Any, make_tab: Callable[[], DataTab], put: Any) -> None:
    tab = make_tab()
    settle(qtbot, tab)
    before = tab.selection
    settle(qtbot, tab, put("empty.csv", ""))
    assert tab.selection is before
    assert tab.view.preview.rows.rowCount() == 2000
    assert problem_text(tab.view.problems[0]).endswith("empty.csv is empty. Choose a file with data.")
    assert all("empty.csv" not in row.title for row in tab.panel.list.rows)
    assert tab.panel.list.reference == '"uci-sentiment"'
    button(tab, "details").click()
    assert "empty.csv is empty" in QGuiApplication.clipboard().text()
    settle(qtbot, tab, put("good.csv", table_text()))
    assert "failed" not in kinds(tab)


def test_reading_a_large_file_shows_progress_and_can_be_cancelled(
    qtbot: Any, make_tab: Callable[[], DataTab], put: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tab = make_tab()
    settle(qtbot, tab)
    before = tab.selection
    path = put("large.csv", "text,label\n" + "some words in a row,1\nothers,0\n" * 700_000)
    tab.open_source(path)
    qtbot.waitUntil(lambda: tab.panel.bar.maximum() == 1000 and bool(tab.panel.amount.text()), timeout=TIMEOUT)
    assert tab.panel.progress.isVisible()
    qtbot.mouseClick(tab.panel.cancel_button, Qt.MouseButton.LeftButton)
    settle(qtbot, tab)
    assert not tab.panel.progress.isVisible()
    assert tab.selection is before
    assert tab.view.preview.rows.rowCount() == 2000
    assert tab.panel.list.reference == '"uci-sentiment"'


def test_lengths_are_tokens_once_there_is_a_model(
    qtbot: Any, make_tab: Callable[[], DataTab], put: Any, tiny_encoder: Path
) -> None:
    from types import SimpleNamespace

    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder)
    tab = make_tab()
    settle(qtbot, tab, put("some.csv", table_text(30)))
    lengths = tab.view.lengths
    assert lengths is not None
    assert lengths.quantile_95 == 5  # words
    tab.set_model(SimpleNamespace(tokenizer=tokenizer))
    settle(qtbot, tab)
    expected = sorted(len(tokenizer(line.rsplit(",", 1)[0])["input_ids"]) for line in table_text(30).splitlines()[1:])
    assert lengths.quantile_95 == expected[28]
    assert f"longest {expected[-1]}" in lengths.readout()
    tab.set_model(None)
    settle(qtbot, tab)
    assert lengths.quantile_95 == 5


def test_the_preview_decodes_only_what_is_seen(qtbot: Any, make_tab: Callable[[], DataTab], put: Any) -> None:
    rows = 200_000
    path = put("many.csv", "text,label\n" + "".join(f"row number {i},{i % 2}\n" for i in range(rows)))
    tab = make_tab()
    settle(qtbot, tab, path)
    preview = tab.view.preview
    model = preview.rows
    assert model.rowCount() == rows
    for row in (0, 12_345, rows - 1):
        preview.show_row(row)
        QApplication.processEvents()
        assert model.index(row, 0).data() == f"row number {row}"
        assert model.headerData(row, Qt.Orientation.Vertical) == row + 2
    assert len(model._blocks) <= 64
    index = model.index(5, 0)
    start = time.perf_counter()
    for _ in range(1000):
        model.data(index)
    assert (time.perf_counter() - start) / 1000 < 100e-6


def test_cells_are_copied_whole_and_empty_ones_are_marked(
    qtbot: Any, make_tab: Callable[[], DataTab], put: Any
) -> None:
    long = "word " * 300 + "end"
    tab = make_tab()
    settle(qtbot, tab, put("cells.tsv", f"text\tlabel\n{long}\t1\n\t0\nother\t0\nmore\t1\nand\t0\nlast\t1\n"))
    preview = tab.view.preview
    assert preview.rows.index(1, 0).data() == "empty"
    assert len(preview.rows.index(0, 0).data()) <= 400
    preview.selectRow(0)
    preview.setFocus()
    qtbot.keyClick(preview, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert QGuiApplication.clipboard().text() == f"{long}\t1"


def test_the_keyboard_comes_through_from_top_to_bottom(qtbot: Any, make_tab: Callable[[], DataTab]) -> None:
    tab = make_tab()
    settle(qtbot, tab)
    form, view = tab.panel.form, tab.view
    expected = [
        tab.panel.chooser.box,
        tab.panel.open_button,
        tab.panel.list,
        form.column_box("text"),
        form.column_box("label"),
        form.eval_box,
        form.fraction,
        form.limit,
        form.deduplicate,
        form.reading.button,
        view.continue_button,
        button(tab, "deduplicate"),
        view.preview,
    ]
    stops, widget = [], tab.panel.chooser.box
    for _ in range(500):
        if widget in expected and widget not in stops:
            stops.append(widget)
        widget = widget.nextInFocusChain()
    assert stops == expected


def test_files_leave_the_list_with_delete(qtbot: Any, make_tab: Callable[[], DataTab], put: Any) -> None:
    tab = make_tab()
    settle(qtbot, tab, put("gone.csv", table_text()))
    settle(qtbot, tab, "uci-imdb")
    row = next(row for row in tab.panel.list.rows if row.title == "gone.csv")
    tab.panel.list.removed.emit(row.reference)
    assert all(row.title != "gone.csv" for row in tab.panel.list.rows)
    assert tab.selection is not None
    assert tab.selection.config.train == "uci-imdb"


@pytest.mark.parametrize("dark", [False, True])
def test_every_control_explains_itself_and_both_themes_paint(
    qtbot: Any, make_tab: Callable[[], DataTab], dark: bool
) -> None:
    from PySide6.QtWidgets import QAbstractButton, QComboBox, QSpinBox

    from lmstudio_app.gui import theme

    tab = make_tab()
    settle(qtbot, tab)
    tab.setPalette(theme.build_palette(dark=dark))
    QApplication.processEvents()
    controls = [w for kind in (QAbstractButton, QComboBox, QSpinBox) for w in tab.findChildren(kind) if w.isVisible()]
    assert len(controls) > 8
    for control in controls:
        if control.metaObject().className().startswith("QTableCorner") or control.parent() is None:
            continue
        assert control.accessibleName() or control.metaObject().className() == "QScrollBar", control
        assert control.toolTip(), control.accessibleName()
    image = tab.grab().toImage()
    colours = {image.pixelColor(x, y).name() for x in range(0, image.width(), 7) for y in range(0, image.height(), 7)}
    assert len(colours) > 10


def test_a_selection_trains_with_the_same_rows_that_were_shown(
    qtbot: Any, make_tab: Callable[[], DataTab], put: Any
) -> None:
    from lmstudio_app.training.recipe import Recipe

    tab = make_tab()
    settle(qtbot, tab, put("recipe.csv", table_text(50, ";")))
    assert tab.selection is not None
    assert tab.report is not None
    recipe = Recipe(task=tab.selection.task, model="starter:encoder", data=tab.selection.config)
    again = Recipe.from_dict(recipe.to_dict())
    assert isinstance(again.data, DataConfig)
    splits = prepare_data(again.data, find_task(again.task).columns, JobContext())
    assert splits.report == tab.report
