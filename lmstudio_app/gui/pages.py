"""The pages of the window, in the order of the rail: to teach a model, to use one, to look inside."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QCoreApplication


@dataclass(frozen=True)
class Page:
    """``module`` and ``class_name`` make the tab; ``sign`` is drawn on the rail, ``shortcut`` goes there.

    ``asks``: names of predictions that are asked there. Such a page has a model of its own.
    """

    name: str
    module: str
    class_name: str
    group: str  # teach, use, inspect
    sign: str
    shortcut: str
    asks: tuple[str, ...] = ()


_TABS = "lmstudio_app.gui.tabs"
PAGES = (
    Page("model", f"{_TABS}.model", "ModelTab", "teach", "1", "Ctrl+1"),
    Page("data", f"{_TABS}.data", "DataTab", "teach", "2", "Ctrl+2"),
    Page("train", f"{_TABS}.train", "TrainTab", "teach", "3", "Ctrl+3"),
    Page("runs", f"{_TABS}.runs", "RunsTab", "teach", "4", "Ctrl+4"),
    Page("translation", f"{_TABS}.translation", "TranslationTab", "use", "⇄", "Ctrl+5", ("translation",)),
    Page("summarization", f"{_TABS}.summarization", "SummarizationTab", "use", "≡", "Ctrl+6", ("summarization",)),
    Page("sentiment", f"{_TABS}.sentiment", "SentimentTab", "use", "±", "Ctrl+7", ("sentiment", "classification")),
    Page(
        "question_answering",
        f"{_TABS}.question_answering",
        "QuestionAnsweringTab",
        "use",
        "?",
        "Ctrl+8",
        ("question_answering",),
    ),
    Page("chat", f"{_TABS}.chat", "ChatTab", "use", "…", "Ctrl+9", ("chat",)),
    Page("try", f"{_TABS}.try_model", "TryTab", "use", "»", "Ctrl+T"),
    Page("attention", f"{_TABS}.attention", "AttentionTab", "inspect", "◎", "Ctrl+I"),
)
INDEX = {page.name: index for index, page in enumerate(PAGES)}


def _tr(text: str) -> str:
    return QCoreApplication.translate("pages", text)


def page_texts(name: str) -> tuple[str, str, str]:
    """Title, tooltip, and what the rail says while the page has nothing of its own to say."""
    return {
        "model": (_tr("Model"), _tr("Choose and load a language model"), _tr("Start here")),
        "data": (_tr("Data"), _tr("Choose the examples it learns from"), _tr("Nothing chosen yet")),
        "train": (_tr("Train"), _tr("Let it learn, and watch"), _tr("Needs a model and data")),
        "runs": (_tr("Runs"), _tr("Every training so far: find, compare, repeat"), _tr("Find, compare, repeat")),
        "translation": (_tr("Translate"), _tr("From one language into another"), _tr("Into another language")),
        "summarization": (_tr("Summarise"), _tr("The gist of a long text"), _tr("The gist of a text")),
        "sentiment": (_tr("Sentiment"), _tr("Try a model on your own sentences"), _tr("Judge texts")),
        "question_answering": (
            _tr("Questions"),
            _tr("Ask your own documents, and see where the answer stands"),
            _tr("Ask documents"),
        ),
        "chat": (_tr("Chat"), _tr("Talk with a model"), _tr("Talk with a model")),
        "try": (_tr("Try"), _tr("Ask the loaded model what it has learned"), _tr("Ask what it has learned")),
        "attention": (_tr("Attention"), _tr("Look inside: which word looks at which"), _tr("Look inside")),
    }[name]


def group_title(group: str) -> str:
    return {"teach": _tr("Teach"), "use": _tr("Use"), "inspect": _tr("Look inside")}[group]


def page_that_asks(prediction: str) -> Page | None:
    """The page made for this prediction; None: the Try page does."""
    return next((page for page in PAGES if prediction in page.asks), None)
