"""With the starter pack and no network: all that the app can be asked, by command, and no socket is opened."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lmstudio_app.assets import resource_root

ROOT = Path(__file__).resolve().parent.parent.parent
# Python imports a sitecustomize when it starts, so this is in every process that the commands start, too. What it has
# refused is noted, since a library may swallow the exception.
GUARD = """
import os, sys

def guard(event, arguments):
    if event.startswith("socket."):
        with open(os.environ["GUARD_NOTES"], "a", encoding="utf-8") as notes:
            notes.write(f"{event} {arguments}\\n")
        raise OSError(f"{event} is refused: nothing here needs a network")

sys.addaudithook(guard)
"""
COMMANDS = """
import json, sys
from lmstudio_app.cli import main

for command in json.loads(sys.argv[1]):
    code = main(command)
    assert code == 0, (command, code)
"""
TRANSLATOR = resource_root() / "models" / "translate"
INPUTS: dict[str, list[dict[str, Any]]] = {
    "sentiment": [{"text": "a warm , funny and moving film"}, {"text": "dull , predictable and far too long"}],
    "question_answering": [
        {
            "question": "Who built the first lighthouse?",
            "context": "The first lighthouse on the rock was built by Henry Winstanley in 1698. A storm took it.",
        }
    ],
    "chat": [{"messages": [{"role": "user", "content": "Name a colour."}]}],
    "summarization": [{"text": "The ferry was late. A storm had closed the harbour; nobody could land before noon."}],
    "translation": [{"text": "A man is riding a bicycle."}],
}
MODELS = {"sentiment": "sentiment", "question_answering": "qa", "translation": "translate"}  # the others: chat
OPTIONS = {
    "chat": ["--max-new-tokens", "12"],
    "summarization": ["--max-new-tokens", "12"],
    "translation": ["--source-language", "en", "--target-language", "de", "--max-new-tokens", "24"],
}


def command(name: str) -> list[str]:
    model = f"starter:{MODELS.get(name, 'chat')}"
    return ["predict", name, "--model", model, "--input", f"{name}.jsonl", "--output", f"{name}-out.jsonl",
            "--device", "cpu", *OPTIONS.get(name, [])]  # fmt: skip


def run_without_sockets(folder: Path, code: str, *arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run Python code in ``folder``; ``notes.txt`` there holds a line for every socket that was asked for."""
    (folder / "guard").mkdir()
    (folder / "guard" / "sitecustomize.py").write_text(GUARD, encoding="utf-8")
    (folder / "notes.txt").touch()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {
        "PYTHONPATH": os.pathsep.join([str(folder / "guard"), str(ROOT)]),
        "GUARD_NOTES": str(folder / "notes.txt"),
        "LMSTUDIO_APP_HOME": str(home),
    }
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


@pytest.fixture(scope="module")
def answers(
    starter_encoder: Path, starter_chat: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, list[dict[str, Any]]], str]:
    """The rows of every prediction by its name, and all that was printed.

    The two models that are downloaded lie where a fetch puts them; all others come with the app.
    """
    folder, home = tmp_path_factory.mktemp("offline"), tmp_path_factory.mktemp("starter-home")
    (home / "models").mkdir()
    for name, source in (("starter-encoder", starter_encoder), ("starter-chat", starter_chat)):
        (home / "models" / name).mkdir()
        for path in source.iterdir():  # the folders are this test's own, the weights are there once
            os.symlink(path, home / "models" / name / path.name)
    asked = [name for name in INPUTS if name != "translation" or TRANSLATOR.is_dir()]
    for name in asked:
        rows = "".join(json.dumps(row) + "\n" for row in INPUTS[name])
        (folder / f"{name}.jsonl").write_text(rows, encoding="utf-8")
    question = ["kb", "ask", "handbook", "What does a tokenizer do?", "--model", "starter:qa", "--device", "cpu"]
    commands = [["models", "fetch", "starter"], ["models", "list"], *map(command, asked), question]
    done = run_without_sockets(folder, COMMANDS, json.dumps(commands), home=home)
    assert (folder / "notes.txt").read_text(encoding="utf-8") == ""
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    found = {}
    for name in asked:
        lines = (folder / f"{name}-out.jsonl").read_text(encoding="utf-8").splitlines()
        found[name] = [json.loads(line) for line in lines]
    return found, done.stdout + done.stderr


def test_the_guard_sees_sockets_of_children_too(tmp_path: Path) -> None:
    inner = "import socket; socket.create_connection(('127.0.0.1', 9))"
    outer = f"import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', {inner!r}]).returncode)"
    done = run_without_sockets(tmp_path, outer, home=tmp_path)
    assert done.returncode == 1
    assert "is refused" in done.stderr
    assert "socket.getaddrinfo" in (tmp_path / "notes.txt").read_text(encoding="utf-8")


Answers = tuple[dict[str, list[dict[str, Any]]], str]


def test_everything_of_the_pack_is_here(answers: Answers) -> None:
    said = answers[1]
    for name in ("encoder", "chat"):
        assert f"starter:{name} is already on this computer" in said
    for name in ("sentiment", "qa"):
        assert f"starter:{name} comes with the app, and its files are whole" in said
    assert "not here" not in said


def test_sentences_are_judged(answers: Answers) -> None:
    good, bad = answers[0]["sentiment"]
    assert (good["label"], bad["label"]) == ("positive", "negative")
    assert good["scores"]["positive"] > 0.9
    assert bad["scores"]["negative"] > 0.9


def test_an_answer_is_marked(answers: Answers) -> None:
    (row,) = answers[0]["question_answering"]
    assert "Henry Winstanley" in row["answer"]
    assert 0 < row["score"] <= 1


@pytest.mark.parametrize("name", ["chat", "summarization"])
def test_text_is_written(name: str, answers: Answers) -> None:
    (row,) = answers[0][name]
    assert len(row["text"].split()) >= 1


@pytest.mark.skipif(not TRANSLATOR.is_dir(), reason="the translator is not among the app's files")
def test_a_sentence_is_translated(answers: Answers) -> None:
    (row,) = answers[0]["translation"]
    assert "Mann" in row["text"]
    assert "Fahrrad" in row["text"]


def test_the_handbook_answers(answers: Answers) -> None:
    assert "[1] " in answers[1]
    assert "token" in answers[1].split("[1] ", 1)[1].lower()
