"""The Train page by itself, and something small for it to learn."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hub_server import HubServer, serve_hub

WORDS = {"positive": ("good", "great", "wonderful", "loved"), "negative": ("bad", "awful", "boring", "hated")}


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Matrices of 32 columns are slower on two."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub, and the environment that makes huggingface_hub use it."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with serve_hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture
def window(qtbot: Any) -> Iterator[Any]:
    """The whole window, shown at its usual size."""
    from lmstudio_app.gui.main_window import MainWindow

    window = MainWindow()
    window.resize(1280, 800)
    window.show()
    qtbot.waitExposed(window)
    yield window
    window._shut_down()
    window.close()
    window.deleteLater()


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """120 short reviews whose label is in their words, but for every ninth, so that no model is always right."""
    rng = random.Random(0)
    path = tmp_path / "reviews.tsv"
    lines = ["text\tlabel"]
    for number in range(120):
        label = ("negative", "positive")[number % 2]
        words = WORDS[label if number % 9 else ("positive", "negative")[number % 2]]
        lines.append(f"the movie {number} was {rng.choice(words)} and {rng.choice(words)}\t{label}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def make_train_tab(qtbot: Any, services: Any, one_thread: None) -> Iterator[Callable[[], Any]]:
    """Makes Train pages of the same settings and runners."""
    from lmstudio_app.gui.tabs.train import TrainTab

    def _make() -> TrainTab:
        tab = TrainTab(services)
        qtbot.addWidget(tab, before_close_func=lambda widget: widget.shutdown())
        tab.resize(1100, 750)
        tab.show()
        qtbot.waitUntil(lambda: tab._view is not None)
        qtbot.waitUntil(lambda: not services.query_runner.busy)
        return tab

    yield _make
    for runner in services.runners():
        runner.cancel_all()
    qtbot.waitUntil(lambda: not any(runner.busy for runner in services.runners()))
