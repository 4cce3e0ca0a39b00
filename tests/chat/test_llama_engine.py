from __future__ import annotations

import contextlib
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lmstudio_app.chat.engine import ChatEngine, ReplyOptions, is_fast, open_engine, reply_text
from lmstudio_app.chat.llama_engine import LlamaEngine
from lmstudio_app.chat.torch_engine import TorchEngine
from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.events import Event, Status
from lmstudio_app.jobs import Control, JobContext
from lmstudio_app.models.conversion import gguf_of
from lmstudio_app.models.llama_cpp import LlamaProcess
from lmstudio_app.models.loading import LoadRequest, load_model

CAPITAL = [{"role": "user", "content": "What is the capital of France? Answer in one short sentence."}]
QUESTION = [{"role": "user", "content": "Hello, 你好"}]


def children() -> list[psutil.Process]:
    """The processes of llama.cpp that this one has started."""
    alive = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in alive if any("llama_worker" in part for part in child.cmdline())]


@pytest.fixture(scope="module")
def starter(starter_chat: Path) -> Iterator[ChatEngine]:
    engine = open_engine(str(starter_chat), JobContext())
    yield engine
    engine.close()


@pytest.fixture
def tiny(tiny_gguf_folder: Path) -> Iterator[LlamaEngine]:
    gguf = gguf_of(tiny_gguf_folder)
    assert gguf is not None
    with contextlib.closing(LlamaEngine("tiny", tiny_gguf_folder, gguf, JobContext())) as engine:
        yield engine


def test_a_model_of_a_gguf_file_is_answered_by_llama_cpp(starter: ChatEngine) -> None:
    assert starter.name == "llama.cpp"
    pieces = list(starter.reply(CAPITAL, ReplyOptions(max_new_tokens=20), JobContext()))
    assert "Paris" in reply_text(pieces)
    assert starter.report.ending == "end"
    assert starter.report.new_tokens == len(pieces)
    for piece in pieces:
        assert len(piece.candidates) == 10
        shares = [candidate.probability for candidate in piece.candidates]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) <= 1.001
        assert piece.probability == pytest.approx(shares[0])  # greedy
        assert piece.candidates[0].token.strip() in piece.text or not piece.text


def test_the_turn_before_is_not_read_again(starter: ChatEngine) -> None:
    first = list(starter.reply(CAPITAL, ReplyOptions(max_new_tokens=20), JobContext()))
    messages = [*CAPITAL, {"role": "assistant", "content": reply_text(first)}]
    messages.append({"role": "user", "content": "And of Spain?"})
    second = list(starter.reply(messages, ReplyOptions(max_new_tokens=20), JobContext()))
    assert "Madrid" in reply_text(second)
    assert starter.report.reused_tokens >= starter.report.prompt_tokens - 20
    assert starter.report.prompt_tokens == starter.count_tokens(messages)


def test_the_same_seed_draws_the_same_reply(starter: ChatEngine) -> None:
    def _text(seed: int) -> str:
        options = ReplyOptions(max_new_tokens=12, temperature=1.5, seed=seed)
        return reply_text(list(starter.reply(CAPITAL, options, JobContext())))

    assert _text(1) == _text(1)
    assert len({_text(seed) for seed in (1, 2, 3)}) > 1


def test_sampling_options_narrow_the_choice(starter: ChatEngine) -> None:
    greedy = reply_text(list(starter.reply(CAPITAL, ReplyOptions(max_new_tokens=8), JobContext())))
    for options in (
        ReplyOptions(max_new_tokens=8, temperature=5.0, top_k=1, seed=4),
        ReplyOptions(max_new_tokens=8, temperature=1.0, top_p=0.01, seed=4),
    ):
        assert reply_text(list(starter.reply(CAPITAL, options, JobContext()))) == greedy
    punished = ReplyOptions(max_new_tokens=8, repetition_penalty=9.0)
    pieces = list(starter.reply(CAPITAL, punished, JobContext()))
    assert not {"What", "is", "the", "capital", "of", "France"} & {piece.text.strip() for piece in pieces}


@pytest.mark.parametrize("switch", ["stop", "cancel"])
def test_a_reply_ends_at_once_while_it_is_written_and_while_a_long_prompt_is_read(
    starter: ChatEngine, switch: str
) -> None:
    for messages, before in ((CAPITAL, 3), ([{"role": "user", "content": "tell me more " * 500}], 0)):
        control = Control()
        flipped: list[float] = []

        def _flip(control: Control = control, flipped: list[float] = flipped) -> None:
            flipped.append(time.monotonic())
            getattr(control, switch)()

        reply = starter.reply(messages, ReplyOptions(max_new_tokens=500), JobContext(control=control))
        pieces = []
        if before == 0:
            threading.Timer(0.15, _flip).start()
        with pytest.raises(Cancelled) if switch == "cancel" else contextlib.nullcontext():
            for piece in reply:
                pieces.append(piece)
                if len(pieces) == before:
                    _flip()
        assert time.monotonic() - flipped[0] < 0.4  # 0.2 on a machine that does nothing else
        if switch == "stop":
            assert starter.report.ending == "stopped"
    # what was left is not gone on with
    assert "Paris" in reply_text(list(starter.reply(CAPITAL, ReplyOptions(max_new_tokens=20), JobContext())))


def test_a_stop_text_ends_the_reply(starter: ChatEngine) -> None:
    pieces = list(starter.reply(CAPITAL, ReplyOptions(max_new_tokens=20), JobContext(), stop=["is Par"]))
    assert "".join(piece.text for piece in pieces).strip() == "The capital of France"
    assert starter.report.ending == "stop text"


def test_no_port_is_open(starter: ChatEngine) -> None:
    list(starter.reply(CAPITAL, ReplyOptions(max_new_tokens=2), JobContext()))
    (worker,) = children()
    assert worker.net_connections("inet") == []
    assert psutil.Process().net_connections("inet") == []
    for connection in worker.net_connections("unix"):
        assert not connection.laddr or not Path(connection.laddr).exists()  # nobody can find it


def test_it_writes_what_torch_writes(tiny: LlamaEngine, tiny_gguf_folder: Path) -> None:
    torch_engine = TorchEngine(load_model(LoadRequest(str(tiny_gguf_folder)), JobContext()))
    options = ReplyOptions(max_new_tokens=6)
    theirs = list(torch_engine.reply(QUESTION, options, JobContext()))
    ours = list(tiny.reply(QUESTION, options, JobContext()))
    assert [piece.token_id for piece in ours] == [piece.token_id for piece in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert math.log(one.probability) == pytest.approx(math.log(other.probability), abs=0.05)
    assert tiny.report.prompt_tokens == torch_engine.report.prompt_tokens
    assert tiny.context_length == torch_engine.context_length == 128


def test_the_oldest_turns_give_way(tiny: LlamaEngine) -> None:
    messages = [{"role": "user", "content": "q" * 30}, {"role": "assistant", "content": "a" * 30}] * 3
    messages.append({"role": "user", "content": "last"})
    pieces = list(tiny.reply(messages, ReplyOptions(max_new_tokens=60), JobContext()))
    assert tiny.report.dropped_messages > 0
    assert tiny.report.prompt_tokens <= 68
    assert len(pieces) <= 61


def test_a_process_that_was_killed_is_told_of_and_started_again(starter: ChatEngine) -> None:
    options = ReplyOptions(max_new_tokens=1000, temperature=2.0)
    reply = starter.reply(CAPITAL, options, JobContext())
    first = next(reply)
    for child in children():
        os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(UserError, match=r"llama.cpp has ended while it ran .*gguf \(signal 9\)"):
        list(reply)
    assert next(starter.reply(CAPITAL, options, JobContext())) == first


def test_closing_leaves_no_thread_and_no_process(tiny_gguf_folder: Path) -> None:
    gguf = gguf_of(tiny_gguf_folder)
    assert gguf is not None
    threads, processes = set(threading.enumerate()), {child.pid for child in children()}
    engine = LlamaEngine("tiny", tiny_gguf_folder, gguf, JobContext())
    reply = engine.reply(QUESTION, ReplyOptions(max_new_tokens=60), JobContext())
    next(reply)
    engine.close()
    engine.close()
    assert set(threading.enumerate()) <= threads
    assert {child.pid for child in children()} <= processes
    with pytest.raises(UserError):
        list(reply)


def test_a_broken_file_is_one_sentence_and_torch_answers_instead(tiny_gguf_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_gguf_folder, folder)
    gguf = gguf_of(folder)
    assert gguf is not None
    broken = folder / "broken.gguf"
    broken.write_bytes(gguf.read_bytes()[:-5000])
    provenance = folder / "provenance.json"
    provenance.write_text(provenance.read_text().replace(str(gguf), "broken.gguf"))
    assert is_fast(folder)
    with pytest.raises(UserError, match=r"llama.cpp cannot load broken.gguf \(tensor .* is not within the file"):
        open_engine(str(folder), JobContext(), "llama.cpp")
    events: list[Event] = []
    engine = open_engine(str(folder), JobContext(events.append))
    assert engine.name == "torch"
    (warning,) = [event for event in events if isinstance(event, Status) and event.warning]
    assert "broken.gguf" in warning.message
    assert len(list(engine.reply(QUESTION, ReplyOptions(max_new_tokens=2), JobContext()))) == 2


def test_loading_can_be_cancelled(starter_chat: Path) -> None:
    control = Control()
    before = {child.pid for child in children()}
    events: list[Event] = []

    def _on_event(event: Event) -> None:
        events.append(event)
        control.cancel()

    with pytest.raises(Cancelled):
        open_engine(str(starter_chat), JobContext(_on_event, control))
    assert events
    assert {child.pid for child in children()} == before


@pytest.mark.parametrize("who", ["the worker", "the application"])
def test_nothing_stays_in_the_temporary_folder_when_it_is_killed_while_it_loads(
    who: str, starter_chat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gguf = gguf_of(starter_chat)
    assert gguf is not None
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    if who == "the worker":
        monkeypatch.setattr(tempfile, "tempdir", str(temporary))
        process = LlamaProcess(gguf, 128)
        assert list(temporary.iterdir())
        process.close()
    else:
        code = "import os, sys; from pathlib import Path; from lmstudio_app.models.llama_cpp import LlamaProcess; "
        code += "LlamaProcess(Path(sys.argv[1]), 128); assert os.listdir(os.environ['TMPDIR']); os._exit(9)"
        env = {**os.environ, "TMPDIR": str(temporary)}
        assert subprocess.run([sys.executable, "-c", code, str(gguf)], env=env, check=False).returncode == 9
        deadline = time.monotonic() + 20
        while list(temporary.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.05)
    assert not list(temporary.iterdir())
