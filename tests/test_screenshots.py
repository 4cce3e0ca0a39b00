"""The picture script's parts; the whole of it drives the real window and is run by hand for the README."""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
needs_links = pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")


@pytest.fixture
def screenshots(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "packaging"))
    import screenshots

    return screenshots


def test_flat_picture_stays_exact(screenshots: ModuleType, qapp: Any) -> None:
    from PIL import Image
    from PySide6.QtGui import QColor, QImage

    image = QImage(101, 33, QImage.Format.Format_ARGB32)  # a width whose rows are padded
    image.fill(QColor("#2f5fd0"))
    read = Image.open(io.BytesIO(screenshots.small_png(image)))
    assert read.size == (101, 33)
    assert read.convert("RGB").getcolors() == [(101 * 33, (0x2F, 0x5F, 0xD0))]


def test_busy_picture_is_made_small(screenshots: ModuleType, qapp: Any) -> None:
    """Gradients, as an attention map has them, on every pixel of a window."""
    from PIL import Image
    from PySide6.QtCore import QPointF
    from PySide6.QtGui import QColor, QConicalGradient, QImage, QPainter

    image = QImage(1280, 800, QImage.Format.Format_RGB32)
    painter = QPainter(image)
    gradient = QConicalGradient(QPointF(640, 400), 0)
    for stop, colour in ((0.0, "#440154"), (0.3, "#21918c"), (0.6, "#fde725"), (1.0, "#440154")):
        gradient.setColorAt(stop, QColor(colour))
    painter.fillRect(image.rect(), gradient)
    painter.end()
    data = screenshots.small_png(image)
    assert len(data) <= screenshots.LARGEST
    assert Image.open(io.BytesIO(data)).size == (1280, 800)


@needs_links
def test_models_are_lent_and_not_copied(
    screenshots: ModuleType, tiny_encoder: Path, tmp_path: Path, app_home: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "tiny").symlink_to(tiny_encoder, target_is_directory=True)
    (tmp_path / "mine" / ".unfinished.part").mkdir()
    screenshots.lend_models(tmp_path / "mine")
    assert [entry.name for entry in (app_home / "models").iterdir()] == ["tiny"]
    assert (app_home / "models" / "tiny" / "config.json").is_file()


def test_size_is_read(screenshots: ModuleType) -> None:
    assert screenshots.read_size("1920x1080") == (1920, 1080)
    with pytest.raises(argparse.ArgumentTypeError, match="1280x800"):
        screenshots.read_size("large")
