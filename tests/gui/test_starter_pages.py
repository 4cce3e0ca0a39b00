"""Every page to use a model on, in the real window, with the starter models alone."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lmstudio_app.settings import models_folder

PATIENCE = 120_000  # milliseconds: a small machine loads and writes beside other tests


@pytest.fixture
def window(qtbot: Any, starter_encoder: Path, starter_chat: Path, app_home: Path) -> Iterator[Any]:
    """A window whose data folder has what ``models fetch starter`` brings."""
    from lmstudio_app.gui.main_window import MainWindow
    from lmstudio_app.models.names import install_folder

    models_folder().mkdir(parents=True, exist_ok=True)
    for reference, folder in (("starter:encoder", starter_encoder), ("starter:chat", starter_chat)):
        os.symlink(folder, install_folder(reference), target_is_directory=True)
    window = MainWindow()
    window.resize(1280, 800)
    window.show()
    qtbot.waitExposed(window)
    yield window
    window._shut_down()
    window.close()
    window.deleteLater()


def wait_for(qtbot: Any, condition: Any) -> None:
    qtbot.waitUntil(condition, timeout=PATIENCE)


def settle(qtbot: Any, window: Any) -> None:
    wait_for(qtbot, lambda: not any(runner.busy for runner in window.services.runners()))


def open_page(qtbot: Any, window: Any, name: str) -> Any:
    tab = window.show_tab(name)
    wait_for(qtbot, lambda: tab.page.loaded is not None)
    settle(qtbot, window)
    return tab


def test_a_caption_is_translated(qtbot: Any, window: Any) -> None:
    tab = open_page(qtbot, window, "translation")
    assert tab.page.reference == "starter:translate"
    tab.body.set_inputs({"text": "A man in a blue shirt is standing on a ladder.", "target_language": "de"})
    settle(qtbot, window)
    text = tab.body.pairs.target.toPlainText()
    assert text.startswith("Ein Mann")
    assert "blauen" in text
    tab.body.set_inputs({"text": "I want a cup of tea.", "target_language": "zh"})
    settle(qtbot, window)
    assert "茶" in tab.body.pairs.target.toPlainText()


def test_a_sentence_is_judged(qtbot: Any, window: Any) -> None:
    tab = open_page(qtbot, window, "sentiment")
    assert tab.page.reference == "starter:sentiment"
    for text, verdict in (("I loved every minute of it.", "Positive"), ("A dull and lifeless film.", "Negative")):
        tab.one.set_text(text)
        wait_for(qtbot, lambda: not tab.one.busy)
        settle(qtbot, window)
        assert tab.one.pane.verdict.text() == verdict


def test_a_conversation_is_answered(qtbot: Any, window: Any) -> None:
    tab = open_page(qtbot, window, "chat")
    assert tab.page.reference == "starter:chat"
    tab.session.send("What is the capital of France? Answer in one word.")
    wait_for(qtbot, lambda: not tab.session.busy)
    settle(qtbot, window)
    question, answer = tab.session.path
    assert (question.role, answer.role) == ("user", "assistant")
    assert "Paris" in answer.text


def test_a_text_is_summarised(qtbot: Any, window: Any) -> None:
    tab = open_page(qtbot, window, "summarization")
    assert tab.page.reference == "starter:chat"
    wait_for(qtbot, lambda: bool(tab.body.source.samples.buttons))
    tab.body.source.samples.buttons[1].click()
    wait_for(qtbot, lambda: tab.body.answer is not None and not tab.body.busy)
    settle(qtbot, window)
    summary = tab.body.answer.summary.text
    assert "bridge" in summary
    assert 0 < len(summary) < len(tab.body.answer.text)


def test_the_handbook_is_asked(qtbot: Any, window: Any) -> None:
    tab = window.show_tab("question_answering")
    settle(qtbot, window)
    tab.ask("What does a tokenizer do?")
    wait_for(qtbot, lambda: tab.pane.both is not None)
    settle(qtbot, window)
    both = tab.pane.both
    assert both.marked.is_found
    assert any("tokeniz" in source.text.lower() for source in both.passages)
    assert both.written is not None
    assert both.written.answer.strip()
