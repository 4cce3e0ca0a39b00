"""The Data page for every kind of task: what is asked for, how rows are shown, what is offered to a training."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QFileDialog

from lmstudio_app.data.columns import ColumnSpec
from lmstudio_app.data.splits import DataConfig, prepare_data
from lmstudio_app.gui.tabs.data import DataTab
from lmstudio_app.gui.widgets.aligned_dialog import AlignedDialog
from lmstudio_app.jobs import JobContext
from lmstudio_app.tasks.sentiment import SENTIMENT
from lmstudio_app.tasks.task import Task

TIMEOUT = 15_000
CHAT = (
    ColumnSpec("messages", "Chat", "The chats", type="messages", required=False),
    ColumnSpec("system", "Instructions", "What was told", required=False, role="system"),
    ColumnSpec("prompt", "Prompt", "What is asked", required=False, role="user"),
    ColumnSpec("response", "Response", "What is answered", required=False, role="assistant"),
)
PAIRS = (
    ColumnSpec("source", "Source", "What is given"),
    ColumnSpec("target", "Target", "What should come out"),
    ColumnSpec("language", "Language", "The code", type="choice", required=False),
)
QUESTIONS = (
    ColumnSpec("question", "Question", "What is asked"),
    ColumnSpec("context", "Text", "Where it stands"),
    ColumnSpec("answers", "Answers", "What is right", type="answers"),
)
RUNNING = (ColumnSpec("text", "Text", "The running text", type="document"),)


def made(name: str, columns: tuple[ColumnSpec, ...], group: str = "Fine-tuning") -> Task:
    return replace(SENTIMENT, name=name, title=name.title(), help=f"Help of {name}.", columns=columns, group=group)


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> tuple[Task, ...]:
    """One of each kind, whatever the app itself has."""
    records = (
        SENTIMENT,
        made("translation", PAIRS),
        made("question_answering", QUESTIONS),
        made("chat", CHAT),
        made("masked_lm", RUNNING, "Pretraining"),
    )
    monkeypatch.setattr("lmstudio_app.tasks.TASKS", records)
    monkeypatch.setattr("lmstudio_app.gui.tabs.data.TASKS", records)
    return records


@pytest.fixture
def make_tab(qtbot: Any, services: Any, tasks: Any) -> Iterator[Callable[[], DataTab]]:
    tabs: list[DataTab] = []

    def make() -> DataTab:
        tab = DataTab(services)
        qtbot.addWidget(tab)
        tab.resize(1072, 760)
        tab.show()
        tabs.append(tab)
        return tab

    yield make
    for tab in tabs:
        tab.shutdown()
        tab.close()


@pytest.fixture
def put(tmp_path: Path) -> Callable[[str, Any], str]:
    def write(name: str, content: Any) -> str:
        text = content if isinstance(content, str) else "".join(json.dumps(row) + "\n" for row in content)
        (tmp_path / name).write_text(text, encoding="utf-8")
        return str(tmp_path / name)

    return write


def settle(qtbot: Any, tab: DataTab, source: Any = None) -> None:
    if source is not None:
        tab.open_source(source)

    def quiet() -> None:
        assert not tab._services.model_runner.busy
        assert not tab._services.query_runner.busy
        assert not tab._rest.isActive()
        assert tab.opened is not None
        assert len(tab.view.length_charts) >= max(1, len(tab.view._lengths[0]))

    qtbot.waitUntil(quiet, timeout=TIMEOUT)
    QApplication.processEvents()


def choose(tab: DataTab, task: str) -> None:
    """As a person does: in the box."""
    box = tab.panel.chooser.box
    box.setCurrentIndex(box.findData(task))


def headings(tab: DataTab) -> list[str]:
    return [row.title for row in tab.panel.list.rows if not row.reference]


def shown_charts(tab: DataTab) -> list[str]:
    charts = [chart for chart in (tab.view.classes, *tab.view.length_charts) if chart is not None]
    return [chart._title.text() for chart in charts if chart.isVisible()]


def cell(tab: DataTab, row: int, column: str, role: Qt.ItemDataRole = Qt.ItemDataRole.DisplayRole) -> Any:
    rows = tab.view.preview.rows
    return rows.data(rows.index(row, rows._names.index(column)), role)


def test_the_task_is_chosen_explained_and_kept(qtbot: Any, make_tab: Any, put: Any, services: Any) -> None:
    tab = make_tab()
    settle(qtbot, tab)
    chooser = tab.panel.chooser
    assert [chooser.box.itemText(at) for at in range(chooser.box.count())] == [
        "Fine-tuning",
        "Sentiment",
        "Translation",
        "Question_Answering",
        "Chat",
        "Pretraining",
        "Masked_Lm",
    ]
    assert not chooser.box.model().item(0).isEnabled()
    assert headings(tab)[0] == "Bundled data"
    emitted: list[Any] = []
    tab.data_chosen.connect(emitted.append)
    choose(tab, "chat")
    assert emitted == [None]  # nothing trains on what was meant for another task
    assert chooser.help.text() == "Help of chat."
    settle(qtbot, tab)
    assert list(tab.panel.form._boxes) == ["messages", "system", "prompt", "response"]
    first = next(row for row in tab.panel.list.rows if row.reference)
    assert "uci" not in first.reference
    assert headings(tab)[-1] == "Bundled data for other tasks"
    assert services.settings.get("data.task") == "chat"
    again = make_tab()
    settle(qtbot, again)
    assert again.panel.chooser.task == again.task == "chat"


def test_a_changed_task_looks_at_the_open_file_anew(qtbot: Any, make_tab: Any, put: Any) -> None:
    rows = [{"text": f"some words number {at}", "label": at % 2, "target": f"other words {at}"} for at in range(40)]
    tab = make_tab()
    settle(qtbot, tab, put("both.jsonl", rows))
    assert tab.selection is not None
    assert (tab.selection.task, tab.selection.config.columns) == ("sentiment", {"text": "text", "label": "label"})
    assert shown_charts(tab) == ["Classes", "Words in a text"]
    choose(tab, "translation")
    settle(qtbot, tab)
    assert tab.selection is not None
    assert (tab.selection.task, tab.selection.config.columns) == (
        "translation",
        {"source": "text", "target": "target"},
    )
    assert shown_charts(tab) == ["Source: words", "Target: words"]
    assert "classes" not in tab.view.figures.figures
    choose(tab, "sentiment")
    settle(qtbot, tab)
    assert tab.selection.task == "sentiment"
    assert shown_charts(tab) == ["Classes", "Words in a text"]


def test_a_task_changed_while_a_file_is_read_counts(qtbot: Any, make_tab: Any, put: Any) -> None:
    tab = make_tab()
    tab.open_source(put("pairs.jsonl", [{"source": f"a {at}", "target": f"b {at}"} for at in range(20)]))
    choose(tab, "translation")
    settle(qtbot, tab)
    assert tab.selection is not None
    assert (tab.selection.task, Path(tab.selection.config.train).name) == ("translation", "pairs.jsonl")


def test_chats_are_readable_and_what_is_none_is_named(qtbot: Any, make_tab: Any, put: Any) -> None:
    said = [("system", "Be kind."), ("human", "Hello {at}"), ("gpt", "Hi,\nyou")]
    rows: list[Any] = [
        {"messages": [{"from": role, "value": text.format(at=at)} for role, text in said]} for at in range(20)
    ]
    rows.append({"messages": [{"role": "user", "content": "Nobody?"}]})
    tab = make_tab()
    choose(tab, "chat")
    settle(qtbot, tab, put("chats.jsonl", rows))
    assert cell(tab, 0, "messages") == "System: Be kind. · User: Hello 0 · Assistant: Hi, you"
    assert cell(tab, 0, "messages", Qt.ItemDataRole.ToolTipRole) == (
        "System: Be kind.\nUser: Hello 0\nAssistant: Hi,\nyou"
    )
    assert "Nobody?" in cell(tab, 20, "messages")
    assert [problem.row for problem in tab.view.problems if problem.kind.startswith("misfit")] == [21]
    assert tab.view.figures.figures["left_out"].value() == "1"
    assert tab.view.lengths is not None
    assert tab.view.lengths.quantile_95 == 6
    assert shown_charts(tab) == ["Words in a text"]


def test_a_chat_has_one_form_and_what_is_not_used_stays_so(qtbot: Any, make_tab: Any, put: Any, services: Any) -> None:
    turns = [{"role": "user", "content": "{at}?"}, {"role": "assistant", "content": "{at}!"}]
    rows = [
        {
            "messages": [{**turn, "content": turn["content"].format(at=at)} for turn in turns],
            "ask": f"a {at}",
            "say": f"b {at}",
        }
        for at in range(20)
    ]
    tab = make_tab()
    choose(tab, "chat")
    settle(qtbot, tab, put("both.jsonl", rows))
    form = tab.panel.form
    assert form.columns() == {"messages": "messages"}
    for name, column in (("prompt", "ask"), ("response", "say")):
        box = form.column_box(name)
        box.setCurrentIndex(box.findData(column))
    assert form.columns() == {"prompt": "ask", "response": "say"}
    settle(qtbot, tab)
    assert tab.selection is not None
    assert tab.selection.config.columns == {"prompt": "ask", "response": "say", "messages": ""}
    assert prepare_data(tab.selection.config, CHAT, JobContext()).train[0]["messages"][0]["content"].startswith("a ")
    assert shown_charts(tab) == ["Prompt: words", "Response: words"]
    tab.hide()
    again = make_tab()
    settle(qtbot, again)
    assert again.panel.form.columns() == {"prompt": "ask", "response": "say"}
    box = again.panel.form.column_box("messages")
    box.setCurrentIndex(box.findData("messages"))
    settle(qtbot, again)
    assert again.panel.form.columns() == {"messages": "messages"}
    assert again.selection is not None
    assert again.selection.config.columns == {"messages": "messages"}


def test_answers_are_shown_as_text(qtbot: Any, make_tab: Any, put: Any) -> None:
    context = "The cat sat on the mat."
    answers = [{"text": ["The cat", "cat"], "answer_start": [0, 4]}, {"text": [], "answer_start": []}] * 10
    rows = [{"question": f"Who {at}?", "context": context, "answers": found} for at, found in enumerate(answers)]
    tab = make_tab()
    choose(tab, "question_answering")
    settle(qtbot, tab, put("questions.jsonl", rows))
    assert [cell(tab, row, "answers") for row in (0, 1)] == ["The cat · cat", "no answer"]
    assert shown_charts(tab) == ["Question: words", "Text: words"]
    assert tab.selection is not None


def test_running_text_counts_documents_and_words(qtbot: Any, make_tab: Any, put: Any) -> None:
    text = "\n\n".join("\n".join(f"line {n} of {d}" for n in range(5)) for d in range(20))
    tab = make_tab()
    choose(tab, "masked_lm")
    settle(qtbot, tab, put("book.txt", text))
    figures = {name: figure.value() for name, figure in tab.view.figures.figures.items()}
    assert figures == {
        "train": "90",
        "eval": "10",
        "documents": "18",
        "words": "360",
        "left_out": "0",
        "duplicates": "0",
    }
    assert not tab.panel.form.deduplicate.isVisible()
    assert tab.selection is not None
    splits = prepare_data(tab.selection.config, RUNNING, JobContext())
    assert splits.train["document"][:] == [at // 5 for at in range(90)]
    tab.panel.form.limit.setValue(50)
    settle(qtbot, tab)
    assert tab.selection.config.limit == 50
    assert tab.view.figures.figures["train"].value() == "45"
    assert tab._settings.get("data.limit") == 50


def test_two_aligned_files_are_opened_remembered_and_evaluated_on(
    qtbot: Any, make_tab: Any, put: Any, services: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "source": put("news.en", "".join(f"Sentence {at}\n" for at in range(30))),
        "target": put("news.de", "".join(f"Der Satz {at}\n" for at in range(30))),
    }
    tab = make_tab()
    assert not tab.panel.aligned_button.isVisible()
    choose(tab, "translation")
    settle(qtbot, tab)

    def answer(parent: Any, title: str, *args: Any) -> tuple[str, str]:
        return files["source" if "Source" in title else "target"], ""

    monkeypatch.setattr(QFileDialog, "getOpenFileName", answer)
    qtbot.mouseClick(tab.panel.aligned_button, Qt.MouseButton.LeftButton)
    dialog = tab.findChildren(AlignedDialog)[0]
    assert not dialog.open_button.isEnabled()
    for button in dialog.buttons.values():
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    qtbot.mouseClick(dialog.open_button, Qt.MouseButton.LeftButton)
    settle(qtbot, tab)
    assert tab.selection is not None
    assert (tab.selection.config.train, tab.selection.title) == (files, "news.en and news.de")
    assert any(row.title == "news.en and news.de" and row.state_text == "In use" for row in tab.panel.list.rows)
    assert tab.view.detail.text().startswith("30 rows · aligned lines, UTF-8")
    form = tab.panel.form
    form.eval_box.setCurrentIndex(form.eval_box.findData("open"))
    form.eval_box.activated.emit(form.eval_box.currentIndex())
    dialog = next(found for found in tab.findChildren(AlignedDialog) if found.isVisible())
    for side, line in dialog.lines.items():
        line.setText(files[side])
    qtbot.mouseClick(dialog.open_button, Qt.MouseButton.LeftButton)
    settle(qtbot, tab)
    assert tab.selection.config == DataConfig(files, files, {"source": "source", "target": "target"})
    assert form.eval_box.currentText() == "news.en and news.de"
    assert {problem.kind for problem in tab.view.problems} == {"leakage"}
    tab.hide()
    again = make_tab()
    settle(qtbot, again)
    assert again.selection is not None
    assert again.selection.config == tab.selection.config
    Path(files["target"]).unlink()
    settle(qtbot, again, "uci-imdb")
    row = next(row for row in again.panel.list.rows if row.title == "news.en and news.de")
    assert row.state == "missing"
    again.panel.list.removed.emit(row.reference)
    assert services.settings.get("data.recent") == []


def test_aligned_files_of_different_length_say_so(qtbot: Any, make_tab: Any, put: Any) -> None:
    tab = make_tab()
    choose(tab, "translation")
    settle(qtbot, tab)
    settle(qtbot, tab, {"source": put("a.en", "one\ntwo\n"), "target": put("a.de", "eins\n")})
    assert tab.view.problems[0].kind == "failed"
    assert "2 lines, but" in tab.view.problems[0].message


def test_bundled_data_sets_make_up_one_source(qtbot: Any, make_tab: Any) -> None:
    tab = make_tab()
    settle(qtbot, tab, ["uci-imdb", "uci-amazon"])
    assert tab.selection is not None
    assert (tab.selection.title, tab.selection.config.train) == (
        "Sentiment sentences, IMDb and 1 more",
        ["uci-imdb", "uci-amazon"],
    )
    assert any(row.title == tab.selection.title for row in tab.panel.list.rows)
    assert tab.view.preview.rows.rowCount() == 2000
