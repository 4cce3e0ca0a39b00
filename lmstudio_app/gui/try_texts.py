"""The words of the Try page about what a model can be asked: its fields, and what its answers mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QCoreApplication

if TYPE_CHECKING:
    from lmstudio_app.data.columns import ColumnSpec
    from lmstudio_app.tasks import Prediction


def _tr(text: str) -> str:
    return QCoreApplication.translate("try", text)


def prediction_title(prediction: Prediction) -> str:
    return QCoreApplication.translate("tasks", prediction.title)


def prediction_help(prediction: Prediction) -> str:
    return QCoreApplication.translate("tasks", prediction.help)


def field_texts(prediction: str, column: ColumnSpec) -> tuple[str, str]:
    """The title of an input's field, and what the field says while it is empty."""
    texts = {
        ("sentiment", "text"): (_tr("Text"), _tr("A sentence or more with a feeling in it")),
        ("zero_shot", "text"): (_tr("Text"), _tr("The text to sort by your own labels")),
        ("classification", "text"): (_tr("Text"), _tr("The text to sort into the model's classes")),
        ("classification", "pair"): (_tr("Second text"), _tr("Only for models that judge two texts")),
        ("translation", "text"): (_tr("Text"), _tr("The text to translate")),
        ("summarization", "text"): (_tr("Text"), _tr("The long text")),
        ("question_answering", "question"): (_tr("Question"), _tr("What do you want to know?")),
        ("question_answering", "context"): (_tr("Text"), _tr("The text in which the answer stands")),
        ("chat", "messages"): (_tr("Your message"), _tr("Say something to the model")),
        ("fill_mask", "text"): (_tr("Text with gaps"), _tr("A text with [MASK] or ___ where a word is missing")),
        ("next_sentence", "text"): (_tr("First text (A)"), _tr("The text that comes first")),
        ("next_sentence", "pair"): (_tr("Second text (B)"), _tr("The text that may follow it")),
        ("next_token", "text"): (_tr("Beginning"), _tr("The beginning of a text; empty: how do texts begin?")),
    }
    ours = (QCoreApplication.translate("tasks", column.title), QCoreApplication.translate("tasks", column.help))
    return texts.get((prediction, column.name), ours)


def explanation(prediction: str) -> str:
    """What the answer means, in one line."""
    return {
        "sentiment": _tr("The probability of each class. Together they make 100 %."),
        "classification": _tr("The probability of each class. Together they make 100 %."),
        "zero_shot": _tr("How well each of your labels fits, compared with the others. Together they make 100 %."),
        "translation": _tr("Written by the model token by token, each one with the source text before its eyes."),
        "summarization": _tr("Written by the model token by token; it need not use the words of the text."),
        "question_answering": _tr("The model writes nothing: it points at the part of the text that answers best."),
        "chat": _tr("The model reads the whole conversation each time and writes what comes next."),
        "fill_mask": _tr("P(xᵢ | the rest): how probable each word is at this place, given all the other words."),
        "next_sentence": _tr(
            "P(B | A): how probable it is that B stood right behind A (“follows”) and not somewhere else (“random”)."
        ),
        "next_token": _tr("P(next token | the text so far). A click writes the token and asks again."),
    }.get(prediction, "")


def answer_title(prediction: str) -> str:
    """The heading above the answer."""
    return {
        "fill_mask": _tr("The text, filled in"),
        "next_sentence": _tr("Does B follow A?"),
        "next_token": _tr("What comes next"),
        "translation": _tr("Translation"),
        "summarization": _tr("Summary"),
        "chat": _tr("Conversation"),
    }.get(prediction, _tr("Answer"))


def label_title(prediction: str, label: str) -> str:
    """A label for people; the names of a model's own classes stay as they are."""
    if prediction != "next_sentence":
        return label
    return {"follows": _tr("B follows A"), "random": _tr("B is random")}.get(label, label)


def token_label(token: str) -> str:
    """A token with its white space to be seen."""
    shown = token.replace("\n", "↵").replace("\t", "⇥")
    return (
        "␣" * (len(shown) - len(shown.lstrip(" ")))
        + shown.strip(" ")
        + ("␣" * (len(shown) - len(shown.rstrip(" "))) if shown.strip(" ") else "")
    )
