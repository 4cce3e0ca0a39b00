"""What models take up on the disk, deleting them, and the program code that some of them bring along."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent
from pytestqt.qtbot import QtBot

from lmstudio_app.gui.tabs.model import ModelTab
from lmstudio_app.gui.widgets.model_disk import ModelDiskPage
from lmstudio_app.models.conversion import conversions_folder
from lmstudio_app.models.names import install_folder
from lmstudio_app.models.provenance import write_provenance
from lmstudio_app.models.remote_code import is_allowed, own_code
from lmstudio_app.models.usage import note_use
from tests.models.test_card import edit_config
from tests.tiny_gguf import write_tiny_gguf


@pytest.fixture
def tab(qtbot: QtBot, services: Any) -> Iterator[ModelTab]:
    tab = ModelTab(services)
    qtbot.addWidget(tab)
    tab.resize(1070, 760)
    tab.show()
    qtbot.waitExposed(tab)
    yield tab
    tab.shutdown()


@pytest.fixture
def kept(tiny_encoder: Path) -> Path:
    """A model of the hub with adapters that need it, and a conversion of a file elsewhere; the folder of the first."""
    folder = Path(shutil.copytree(tiny_encoder, install_folder("org/model")))
    write_provenance(folder, {"reference": "org/model", "title": "model"})
    note_use(folder)
    adapters = Path(shutil.copytree(tiny_encoder, install_folder("org/adapters")))
    write_provenance(adapters, {"reference": "org/adapters", "title": "adapters", "base_model": "org/model"})
    made = Path(shutil.copytree(tiny_encoder, conversions_folder() / "other-0123456789ab"))
    write_provenance(made, {"reference": "/elsewhere/other.gguf", "title": "other"})
    return folder


@pytest.fixture
def page(qtbot: QtBot, tab: ModelTab, kept: Path) -> ModelDiskPage:
    tab.refresh()
    tab.pages.go_to("disk")
    page = tab.pages.page("disk")
    qtbot.waitUntil(lambda: page.tree.topLevelItemCount() == 3)
    return page


def rows(page: ModelDiskPage) -> dict[str, list[str]]:
    items = [page.tree.topLevelItem(number) for number in range(page.tree.topLevelItemCount())]
    return {item.text(0): [item.text(column) for column in range(1, 5)] for item in items}


def choose(page: ModelDiskPage, title: str) -> None:
    (item,) = page.tree.findItems(title, Qt.MatchFlag.MatchExactly)
    page.tree.setCurrentItem(item)


def test_what_takes_up_room(page: ModelDiskPage, kept: Path) -> None:
    found = rows(page)
    assert set(found) == {"model", "adapters", "other"}
    assert found["other"][0] == "Conversion of a file"
    assert found["adapters"][2] == "never"
    assert found["model"][2] not in ("never", "")
    assert found["model"][3] == str(kept)
    assert "on this disk" in page.total.text()
    assert "Begun downloads: 0 B" in page.detail.text()


def test_the_headings_sort(qtbot: QtBot, page: ModelDiskPage, kept: Path) -> None:
    (kept / "larger").write_bytes(b"x" * 1000)
    page.refresh()
    qtbot.waitUntil(lambda: next(iter(rows(page))) == "model")  # the largest comes first
    page.tree.sortByColumn(3, Qt.SortOrder.DescendingOrder)
    assert next(iter(rows(page))) == "model"
    page.tree.sortByColumn(0, Qt.SortOrder.AscendingOrder)
    assert list(rows(page)) == ["adapters", "model", "other"]


@pytest.mark.skipif(sys.platform != "linux", reason="where the trash is on Linux")
def test_a_model_goes_to_the_trash_after_a_question(
    qtbot: QtBot, tab: ModelTab, page: ModelDiskPage, kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import send2trash.plat_other

    trash = tmp_path / "Trash"
    monkeypatch.setattr(send2trash.plat_other, "HOMETRASH", str(trash))
    monkeypatch.setattr(send2trash.plat_other, "HOMETRASH_B", os.fsencode(trash))
    assert not page.delete_button.isEnabled()
    choose(page, "model")
    qtbot.mouseClick(page.delete_button, Qt.MouseButton.LeftButton)
    assert "These need it, and cannot be loaded without it: org/adapters" in page.question.informativeText()
    page.question.no_button.click()
    assert kept.is_dir()
    qtbot.mouseClick(page.delete_button, Qt.MouseButton.LeftButton)
    with qtbot.waitSignal(page.changed):
        page.question.yes_button.click()
    assert (trash / "files" / kept.name / "config.json").is_file()
    assert not kept.exists()
    qtbot.waitUntil(lambda: set(rows(page)) == {"adapters", "other"})
    assert "org/model" not in {row.reference for row in tab.chooser.list.rows}


def test_where_there_is_no_trash_it_is_asked_once_more(
    qtbot: QtBot, page: ModelDiskPage, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def _refuse(path: str) -> None:
        raise OSError(f"no trash for {path}")

    monkeypatch.setattr("send2trash.send2trash", _refuse)
    choose(page, "model")
    qtbot.mouseClick(page.delete_button, Qt.MouseButton.LeftButton)
    first = page.question
    first.yes_button.click()
    qtbot.waitUntil(lambda: page.question is not first)
    assert "cannot be moved to the trash" in page.question.informativeText()
    with qtbot.waitSignal(page.changed):
        page.question.yes_button.click()
    assert not kept.exists()


def test_a_conversion_is_deleted_for_it_is_made_again(qtbot: QtBot, page: ModelDiskPage) -> None:
    choose(page, "other")
    assert not page.load_button.isEnabled()
    qtbot.mouseClick(page.delete_button, Qt.MouseButton.LeftButton)
    assert "made again" in page.question.informativeText()
    with qtbot.waitSignal(page.changed):
        page.question.yes_button.click()
    assert list(conversions_folder().glob("other-*")) == []


def test_a_model_is_loaded_from_the_list(qtbot: QtBot, tab: ModelTab, page: ModelDiskPage, kept: Path) -> None:
    choose(page, "model")
    before = time.time()
    with qtbot.waitSignal(tab.model_loaded, timeout=30_000) as loaded:
        qtbot.mouseClick(page.load_button, Qt.MouseButton.LeftButton)
    assert loaded.args[0].folder == kept
    assert tab.pages.current == "choose"
    assert (kept / ".last-used").stat().st_mtime >= before - 1


def test_the_page_is_remembered(qtbot: QtBot, services: Any, page: ModelDiskPage) -> None:
    again = ModelTab(services)
    qtbot.addWidget(again)
    assert again.pages.current == "disk"
    again.shutdown()


# --- program code


@pytest.fixture
def with_code(tiny_encoder: Path, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(tiny_encoder, tmp_path / "with-code"))
    (folder / "modeling_mine.py").write_text("raise SystemExit('this must not run')\n")
    edit_config(folder, model_type="mine", auto_map={"AutoModel": "modeling_mine.Mine"})
    return folder


def test_program_code_is_read_allowed_and_taken_back(qtbot: QtBot, tab: ModelTab, with_code: Path) -> None:
    tab.open_reference(str(with_code))
    qtbot.waitUntil(tab.view.code_bar.isVisible, timeout=20_000)
    assert "off until you allow it" in tab.view.code_bar.label.text()
    qtbot.mouseClick(tab.view.code_bar.buttons["show"], Qt.MouseButton.LeftButton)
    dialog = tab.code_dialog
    assert dialog.tabs.tabText(0) == "modeling_mine.py"
    assert "this must not run" in dialog.tabs.widget(0).toPlainText()
    assert not dialog.decide_button.isEnabled()
    dialog.read_box.setChecked(True)
    qtbot.mouseClick(dialog.decide_button, Qt.MouseButton.LeftButton)
    code = own_code(with_code)
    assert code is not None
    assert is_allowed(code)
    qtbot.waitUntil(lambda: "is allowed" in tab.view.code_bar.label.text())
    qtbot.mouseClick(tab.view.code_bar.buttons["show"], Qt.MouseButton.LeftButton)
    assert tab.code_dialog.decide_button.text() == "Allow no longer"
    qtbot.mouseClick(tab.code_dialog.decide_button, Qt.MouseButton.LeftButton)
    assert not is_allowed(code)
    qtbot.waitUntil(lambda: "off until you allow it" in tab.view.code_bar.label.text())


def test_closing_the_files_allows_nothing(qtbot: QtBot, tab: ModelTab, with_code: Path) -> None:
    tab.open_reference(str(with_code))
    qtbot.waitUntil(tab.view.code_bar.isVisible, timeout=20_000)
    tab.view.code_bar.buttons["show"].click()
    tab.code_dialog.read_box.setChecked(True)
    tab.code_dialog.reject()
    code = own_code(with_code)
    assert code is not None
    assert not is_allowed(code)


def test_a_model_without_code_says_nothing(qtbot: QtBot, tab: ModelTab, tiny_encoder: Path) -> None:
    tab.open_reference(str(tiny_encoder))
    qtbot.waitUntil(lambda: tab.view.shows_card and not tab._services.query_runner.busy)
    assert not tab.view.code_bar.isVisible()


# --- dropping


def drop(tab: ModelTab, path: Path) -> bool:
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path))])
    event = QDropEvent(
        QPointF(10, 10), Qt.DropAction.CopyAction, mime, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    )
    event.ignore()
    tab.dropEvent(event)
    return event.isAccepted()


def test_a_dropped_gguf_file_is_converted_and_loaded(qtbot: QtBot, tab: ModelTab, tmp_path: Path) -> None:
    write_tiny_gguf(tmp_path / "tiny.Q8_0.gguf")
    with qtbot.waitSignal(tab.model_loaded, timeout=60_000) as loaded:
        assert drop(tab, tmp_path / "tiny.Q8_0.gguf")
    qtbot.waitUntil(lambda: not tab.busy)
    assert tab.reference == str(tmp_path / "tiny.Q8_0.gguf")
    assert loaded.args[0].folder.parent == conversions_folder()
    assert tab.chooser.list.rows[-1].title == "tiny.Q8_0"
    qtbot.waitUntil(lambda: tab.view.shows_card)


def test_a_gguf_file_is_not_converted_for_a_look(qtbot: QtBot, tab: ModelTab, tmp_path: Path) -> None:
    write_tiny_gguf(tmp_path / "tiny.gguf")
    tab.open_reference(str(tmp_path / "tiny.gguf"))
    qtbot.waitUntil(lambda: "has no safetensors yet" in tab.view.notice.text.text())
    assert not conversions_folder().exists()
    assert tab.chooser.load_button.isEnabled()


def test_a_dropped_folder_of_adapters_is_loaded_with_their_model(
    qtbot: QtBot, tab: ModelTab, tiny_encoder: Path, tmp_path: Path
) -> None:
    import peft
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(tiny_encoder, num_labels=2)
    config = peft.LoraConfig(r=2, target_modules=["query"], task_type="SEQ_CLS")
    peft.get_peft_model(model, config).save_pretrained(tmp_path / "adapters")
    with qtbot.waitSignal(tab.model_loaded, timeout=60_000) as loaded:
        assert drop(tab, tmp_path / "adapters" / "adapter_model.safetensors")
    qtbot.waitUntil(lambda: not tab.busy)
    assert loaded.args[0].head == "sequence-classification"
    assert tab.reference == str(tmp_path / "adapters")


def test_other_files_are_not_taken(tab: ModelTab, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("a,b\n")
    assert not drop(tab, tmp_path / "data.csv")
    assert not tab.busy
