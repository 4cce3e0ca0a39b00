"""Saving what the studio shows: the dialog, the jobs behind it, and the clipboard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QDialogButtonBox, QWidget

from lmstudio_app.gui.attention.picture_dialog import PictureDialog, SaveChoice
from lmstudio_app.gui.attention.pictures import AttentionPictures
from lmstudio_app.gui.attention.studio import AttentionStudio
from lmstudio_app.inspection.attention import AttentionRequest, read_attention
from lmstudio_app.inspection.reading import Reading, ReadingRequest, read_text
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.loading import LoadRequest, load_model

TEXT = "the film was not very good"
SAVE = QDialogButtonBox.StandardButton.Save


@pytest.fixture(scope="module")
def reading(tiny_encoder: Path) -> Reading:
    loaded = load_model(LoadRequest(str(tiny_encoder), precision="float32"), JobContext())
    return read_text(ReadingRequest(loaded, AttentionRequest(TEXT)), JobContext())


@pytest.fixture
def owner(qtbot: Any) -> QWidget:
    widget = QWidget()
    qtbot.addWidget(widget)
    return widget


@pytest.fixture
def studio(services: Any, reading: Reading, owner: QWidget) -> Iterator[AttentionStudio]:
    studio = AttentionStudio(services, owner)
    studio.set_reading(reading)
    studio.choose_head(1, 2)
    yield studio
    studio.shutdown()


@pytest.fixture
def pictures(services: Any, studio: AttentionStudio, owner: QWidget) -> AttentionPictures:
    pictures = AttentionPictures(services, owner)
    pictures.set_subject(studio)
    return pictures


@pytest.fixture
def dialog(qtbot: Any, services: Any, reading: Reading, tmp_path: Path) -> PictureDialog:
    services.settings.set("attention.picture_folder", str(tmp_path))
    dialog = PictureDialog(services.settings, reading, 1, 2, "head")
    qtbot.addWidget(dialog)
    dialog.show()
    return dialog


def choose(box: Any, name: str) -> None:
    box.setCurrentIndex(box.findData(name))


def test_the_name_follows_what_and_how_until_somebody_types_one(
    qtbot: Any, dialog: PictureDialog, tmp_path: Path
) -> None:
    assert dialog.path.text() == str(tmp_path / "attention-layer1-head2.png")
    choose(dialog.what, "grid")
    assert dialog.path.text() == str(tmp_path / "attention.png")
    choose(dialog.format, "html")
    assert dialog.path.text() == str(tmp_path / "attention.html")
    dialog.path.clear()
    qtbot.keyClicks(dialog.path, str(tmp_path / "mine.pdf"))
    assert dialog.format.currentData() == "pdf"
    choose(dialog.what, "lines")
    assert dialog.path.text() == str(tmp_path / "mine.pdf")
    choose(dialog.format, "csv")
    assert dialog.path.text() == str(tmp_path / "mine.csv")


def test_it_says_what_a_file_will_be(dialog: PictureDialog, tmp_path: Path) -> None:
    choose(dialog.format, "csv")
    assert "64 rows" in dialog.hint.text()
    assert not dialog.width_edit.isEnabled()
    assert not dialog.dark.isEnabled()
    choose(dialog.what, "grid")
    assert f"{2 * 4 * 64} rows" in dialog.hint.text()
    choose(dialog.format, "svg")
    assert dialog.width_edit.isEnabled()
    (tmp_path / "attention.svg").write_text("old")
    choose(dialog.what, "head")
    choose(dialog.what, "grid")
    assert "will be replaced" in dialog.hint.text()
    dialog.path.clear()
    assert not dialog.buttons.button(SAVE).isEnabled()


def test_what_no_browser_could_open_cannot_be_saved(
    qtbot: Any, services: Any, reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lmstudio_app.gui.attention import picture_dialog

    monkeypatch.setattr(picture_dialog, "MOST_WEIGHTS", 100)
    dialog = PictureDialog(services.settings, reading, 0, 0, "grid")
    qtbot.addWidget(dialog)
    choose(dialog.format, "html")
    assert "too much for a browser" in dialog.hint.text()
    assert not dialog.buttons.button(SAVE).isEnabled()
    choose(dialog.what, "head")
    assert dialog.buttons.button(SAVE).isEnabled()


def test_cross_attention_has_no_rollout(qtbot: Any, services: Any, reading: Reading) -> None:
    dialog = PictureDialog(
        services.settings, replace(reading, prepared=replace(reading.prepared, kind="cross")), 0, 0, "rollout"
    )
    qtbot.addWidget(dialog)
    assert dialog.what.findData("rollout") == -1
    assert dialog.what.currentData() == "head"


def test_choices_are_remembered(qtbot: Any, dialog: PictureDialog, services: Any, reading: Reading) -> None:
    choose(dialog.format, "pdf")
    dialog.width_edit.setValue(2400)
    dialog.dark.setChecked(True)
    with qtbot.waitSignal(dialog.chosen) as chosen:
        qtbot.mouseClick(dialog.buttons.button(SAVE), Qt.MouseButton.LeftButton)
    choice = chosen.args[0]
    assert (choice.path.name, choice.view, choice.width, choice.dark) == (
        "attention-layer1-head2.pdf",
        "head",
        2400,
        True,
    )
    again = PictureDialog(services.settings, reading, 0, 1, "rollout")
    qtbot.addWidget(again)
    assert (again.format.currentData(), again.width_edit.value(), again.dark.isChecked()) == ("pdf", 2400, True)
    assert again.what.currentData() == "rollout"
    assert Path(again.path.text()) == choice.path.with_name("attention-rollout.pdf")


def test_from_the_dialog_to_the_file(
    qtbot: Any, pictures: AttentionPictures, studio: AttentionStudio, services: Any, tmp_path: Path
) -> None:
    services.settings.set("attention.picture_folder", str(tmp_path / "new"))
    pictures.ask("lines")
    dialog = pictures.dialog
    assert dialog is not None
    assert dialog.what.currentData() == "lines"
    dialog.width_edit.setValue(600)
    with qtbot.waitSignal(pictures.told, timeout=20_000) as told:
        qtbot.mouseClick(dialog.buttons.button(SAVE), Qt.MouseButton.LeftButton)
    path = tmp_path / "new" / "attention-layer1-head2-lines.png"
    assert told.args == [f"Saved {path}"]
    with Image.open(path) as image:
        assert image.size[0] == 600


@pytest.mark.parametrize("name", ["a.svg", "a.npz"])
def test_pictures_show_what_the_window_shows_and_numbers_are_the_models_own(
    name: str, qtbot: Any, pictures: AttentionPictures, studio: AttentionStudio, tmp_path: Path
) -> None:
    studio.change_look(hide_special=True, scale="log", colormap="magma")
    with qtbot.waitSignal(pictures.told, timeout=20_000):
        pictures.save(SaveChoice(tmp_path / name, "head", 500, False))
    if name == "a.svg":
        text = (tmp_path / name).read_text("utf-8")
        assert "[CLS]" not in text
        assert "powers of ten" in text
    else:
        assert studio.reading is not None
        expected = read_attention(studio.reading.loaded, AttentionRequest(TEXT), JobContext()).head(1, 2)
        with np.load(tmp_path / name) as data:
            np.testing.assert_allclose(data["weights"][0, 0], expected, atol=1e-6)


def test_a_layer_that_is_not_in_memory_is_read_for_the_picture(
    qtbot: Any, pictures: AttentionPictures, studio: AttentionStudio, reading: Reading
) -> None:
    studio.set_reading(replace(reading, kept={}))
    with qtbot.waitSignal(pictures.told, timeout=20_000):
        pictures.copy()
    assert QGuiApplication.clipboard().image().width() == 1600


def test_a_copy_is_on_the_clipboard(
    qtbot: Any, pictures: AttentionPictures, services: Any, make_dark: Callable[[], None]
) -> None:
    services.settings.set("attention.picture_width", 700)
    make_dark()
    with qtbot.waitSignal(pictures.told, timeout=20_000):
        pictures.copy("lines")
    image = QGuiApplication.clipboard().image()
    assert image.width() == 700
    assert image.pixelColor(2, 2).lightness() < 80


@pytest.fixture
def make_dark(owner: QWidget) -> Callable[[], None]:
    from lmstudio_app.gui import theme

    return lambda: owner.setPalette(theme.build_palette(dark=True))


def test_without_a_reading_there_is_nothing_to_save(services: Any, owner: QWidget, studio: AttentionStudio) -> None:
    pictures = AttentionPictures(services, owner)
    pictures.ask()
    studio.set_reading(None)
    pictures.set_subject(studio)
    pictures.ask()
    pictures.copy()
    assert pictures.dialog is None
    assert not services.inspection_runner.busy
