from __future__ import annotations

import contextlib
import io
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from lmstudio_app.chat.conversations import Conversations
from lmstudio_app.chat.engine import ReplyOptions, open_engine
from lmstudio_app.chat.torch_engine import TorchEngine
from lmstudio_app.cli import main
from lmstudio_app.cli.talking import Talk
from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.loading import LoadedModel

Tiny = Callable[[str], LoadedModel]


def test_what_is_piped_in_gets_one_answer(
    tiny_chat: Tiny, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny_chat("llama").reference
    monkeypatch.setattr("sys.stdin", io.StringIO("Hello\n"))
    assert main(["chat", "--model", model, "--max-new-tokens", "6"]) == 0
    told = capsys.readouterr().out
    with Conversations() as store:
        (chat,) = store.all()
        question, answer = store.branch(chat.id)
    assert (question.content, told.strip()) == ("Hello", answer.content)
    assert (answer.tokens, answer.ending, chat.model) == (6, "length", model)
    monkeypatch.setattr("sys.stdin", io.StringIO("And then?"))
    assert main(["chat", "--conversation", str(chat.id), "--max-new-tokens", "2"]) == 0
    monkeypatch.setattr("sys.stdin", io.StringIO("Secret"))
    assert main(["chat", "--model", model, "--no-store", "--max-new-tokens", "2"]) == 0
    with Conversations() as store:
        assert [known.messages for known in store.all()] == [4]
    monkeypatch.setattr("sys.stdin", io.StringIO(" "))
    assert main(["chat", "--model", model]) == 2


class _Screen(io.StringIO):
    """Does something as soon as the first piece of an answer is on it."""

    def __init__(self, then: Callable[[], None]) -> None:
        super().__init__()
        self._then = then

    def write(self, text: str) -> int:
        is_first = not self.getvalue()
        count = super().write(text)
        if is_first and text:
            self._then()
        return count


def test_an_answer_that_was_interrupted_says_so_by_its_exit_code(
    tiny_chat: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = _Screen(lambda: os.kill(os.getpid(), signal.SIGINT))
    monkeypatch.setattr("sys.stdout", screen)
    with Conversations() as store:
        talk = Talk(store, TorchEngine(tiny_chat("llama")), ReplyOptions(max_new_tokens=200))
        assert talk.answer_once("Hello") == 130
        _, answer = store.branch(store.all()[0].id)
    assert answer.ending == "stopped"
    assert 0 < answer.tokens < 200
    assert screen.getvalue() == answer.content + "\n"


def test_an_error_in_an_answer_begins_a_line(starter_chat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def _kill() -> None:
        for child in psutil.Process().children():
            if any("llama_worker" in part for part in child.cmdline()):
                child.kill()

    screen = _Screen(_kill)
    with Conversations() as store, contextlib.closing(open_engine(str(starter_chat), JobContext())) as engine:
        monkeypatch.setattr("sys.stdout", screen)
        with pytest.raises(UserError, match="has ended"):
            Talk(store, engine, ReplyOptions(max_new_tokens=400)).answer_once("Tell me a long story.")
        _, answer = store.branch(store.all()[0].id)
    assert answer.content  # what had come is kept
    assert screen.getvalue() == answer.content + "\n"


def test_a_person_talks_until_quit(
    tiny_chat: Tiny, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = iter(["Hello", "/regenerate", "/preset creative", "/system Be brief.", "/tokens", "/nonsense", "/quit"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(lines))
    with Conversations() as store:
        assert Talk(store, TorchEngine(tiny_chat("llama")), ReplyOptions(max_new_tokens=4)).run() == 0
        (chat,) = store.all()
        assert chat.system == "Be brief."
        assert chat.messages == 3  # the question and two answers
    told = capsys.readouterr()
    assert "of 512 tokens" in told.err
    assert "At temperature 0" in told.err
    assert "There is no command /nonsense" in told.err


def test_stored_conversations_are_seen_to(app_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Conversations() as store:
        chat = store.create(model="m")
        store.add(chat.id, "user", "Where is Paris?")
        store.add(chat.id, "assistant", "In France.")
    for arguments, told in (
        (["list"], "Where is Paris?"),
        (["show", "1"], "**Assistant**\n\nIn France."),
        (["search", "france"], "In France."),
    ):
        assert main(["chat", *arguments]) == 0
        assert told in capsys.readouterr().out
        assert main(["chat", *arguments, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)
    for name in ("out.md", "out.jsonl"):
        assert main(["chat", "export", "--output", str(tmp_path / name)]) == 0
        assert "In France." in (tmp_path / name).read_text(encoding="utf-8")
    assert main(["chat", "import", str(tmp_path / "out.jsonl")]) == 0
    assert main(["chat", "delete", "1"]) == 0
    with Conversations() as store:
        assert [known.id for known in store.all()] == [2]
    assert main(["chat", "delete", "1", "--undo"]) == 0
    assert main(["chat", "show", "9"]) == 2
    assert main(["chat", "export", "--output", "x.docx"]) == 2
