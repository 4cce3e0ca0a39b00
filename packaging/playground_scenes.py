"""The pages to use a model on, each with a real answer, for the pictures of the README (see ``screenshots.py``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

if TYPE_CHECKING:
    from screenshots import Stage

CAPTIONS = (
    "A man in a blue shirt is standing on a ladder and cleaning a window.\n"
    "Two children are playing with a dog in the snow. A woman is reading a book on the train."
)
WORD = "blauen"
SENTENCE = "The plot is thin, but I loved every minute of it."
QUESTION = "Why does attention divide by the square root of the key dimension?"
MESSAGES = (
    "What is a language model? Answer in two sentences.",
    "Write a Python function that counts the words of a text.",
)


def play_playgrounds(stage: Stage) -> None:
    """Every page with the starter models: a translation, a summary, a judgement, an answer with sources, a chat."""
    translate(stage)
    summarise(stage)
    judge(stage)
    ask(stage)
    chat(stage)


def _page(stage: Stage, name: str) -> Any:
    tab = stage.window.show_tab(name)
    stage.wait_for(f"the model of the page {name}", lambda: tab.page.loaded is not None)
    stage.wait_until_idle()
    return tab


def translate(stage: Stage) -> None:
    tab = _page(stage, "translation")
    tab.body.set_inputs({"text": CAPTIONS, "target_language": "de"})
    stage.wait_until_idle()
    target = tab.body.pairs.target
    place = target.toPlainText().index(WORD)
    point = target.point_at(place + 2)
    QTest.mouseClick(target.viewport(), Qt.MouseButton.LeftButton, pos=point)
    stage.wait_until_idle()
    QTest.mouseMove(target.viewport(), point)
    stage.wait(0.7)
    stage.save("14-translation")


def summarise(stage: Stage) -> None:
    tab = _page(stage, "summarization")
    tab.body.source.samples.buttons[1].click()
    stage.wait_for("the summary", lambda: tab.body.answer is not None and not tab.body.busy)
    stage.wait_until_idle()
    stage.save("15-summary")


def judge(stage: Stage) -> None:
    tab = _page(stage, "sentiment")
    tab.one.set_text(SENTENCE)
    stage.wait_for("the words", lambda: tab.one.pane.words.saliency is not None)
    stage.wait_until_idle()
    stage.save("16-sentiment")


def ask(stage: Stage) -> None:
    tab = stage.window.show_tab("question_answering")
    stage.wait_until_idle()
    tab.ask(QUESTION)
    stage.wait_for("the answer", lambda: tab.pane.both is not None)
    stage.wait_until_idle()
    stage.save("17-questions")


def chat(stage: Stage) -> None:
    tab = _page(stage, "chat")
    for message in MESSAGES:
        tab.session.send(message)
        stage.wait_for("the reply", lambda: not tab.session.busy)
        stage.wait_until_idle()
    stage.save("18-chat")
