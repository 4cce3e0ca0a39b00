from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lmstudio_app.chat.conversation_database import STEPS, Database
from lmstudio_app.chat.conversations import Conversations, conversations_file
from lmstudio_app.chat.engine import Candidate, Piece, ReplyOptions, ReplyReport
from lmstudio_app.chat.exchange import from_jsonl, to_jsonl, to_markdown
from lmstudio_app.chat.reply_writer import ReplyWriter, write_reply
from lmstudio_app.chat.torch_engine import TorchEngine
from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.jobs import Control, JobContext
from lmstudio_app.models.loading import LoadedModel


@pytest.fixture
def store(app_home: Path) -> Iterator[Conversations]:
    with Conversations() as opened:
        yield opened


def texts(store: Conversations, conversation: int) -> list[str]:
    return [message.content for message in store.branch(conversation)]


# --- trees


def test_edits_and_new_answers_are_branches(store: Conversations) -> None:
    chat = store.create(model="m")
    question = store.add(chat.id, "user", "one")
    answer = store.add(chat.id, "assistant", "first")
    store.add(chat.id, "user", "more")
    other = store.add(chat.id, "assistant", "second", parent=question.id)
    assert texts(store, chat.id) == ["one", "second"]
    assert store.siblings(other.id) == [answer.id, other.id]
    store.show(answer.id, to_end=True)
    assert texts(store, chat.id) == ["one", "first", "more"]
    edited = store.edit(question.id, "ONE")
    assert texts(store, chat.id) == ["ONE"]
    assert store.siblings(question.id) == [question.id, edited.id]
    store.show(question.id, to_end=True)
    assert texts(store, chat.id) == ["one", "second"]  # the newest
    assert store.get(chat.id).messages == 5
    with Conversations() as again:
        assert texts(again, chat.id) == ["one", "second"]


def test_a_message_goes_with_all_that_follows_and_comes_back(store: Conversations) -> None:
    chat = store.create()
    question = store.add(chat.id, "user", "one")
    first = store.add(chat.id, "assistant", "first")
    gone = store.add(chat.id, "user", "deleted before")
    store.remove(gone.id)
    second = store.add(chat.id, "assistant", "second", parent=question.id)
    store.add(chat.id, "user", "then")
    store.remove(second.id)
    assert texts(store, chat.id) == ["one", "first"]
    assert store.siblings(first.id) == [first.id]
    store.restore(second.id)
    assert texts(store, chat.id) == ["one", "second", "then"]
    store.show(first.id, to_end=True)
    assert texts(store, chat.id) == ["one", "first"]  # what was deleted by itself stays so
    store.remove(question.id)
    assert texts(store, chat.id) == []


def test_the_title_is_the_beginning_of_the_first_question(store: Conversations) -> None:
    chat = store.create()
    store.add(chat.id, "user", "What\n is " + "x" * 100)
    assert store.get(chat.id).title == "What is " + "x" * 52 + "…"
    assert store.update(chat.id, title="Mine", options={"temperature": 0.5}).title == "Mine"
    assert store.get(chat.id).options == {"temperature": 0.5}
    named = store.create(title="Named")
    store.add(named.id, "user", "else")
    assert [known.title for known in store.all()] == ["Named", "Mine"]


def test_a_deleted_conversation_comes_back_until_it_is_purged(store: Conversations) -> None:
    chat = store.create(title="gone")
    store.add(chat.id, "user", "some words")
    store.delete(chat.id)
    assert (store.all(), store.search("words")) == ([], [])
    store.undelete(chat.id)
    assert [known.title for known in store.all()] == ["gone"]
    store.delete(chat.id)
    store.purge(time.time() + 1)
    with pytest.raises(UserError, match="There is no conversation"):
        store.get(chat.id)
    with Database(conversations_file()).transaction():
        pass
    rows = sqlite3.connect(conversations_file()).execute("SELECT count(*) FROM messages").fetchone()
    assert rows == (0,)


# --- search


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("capital", ["What is the CAPITAL of France?"]),
        ("france what", ["What is the CAPITAL of France?"]),
        ("中国", ["北京是中国的首都。"]),  # two characters, fewer than the index knows
        ("中国的首", ["北京是中国的首都。"]),
        ("京 首都", ["北京是中国的首都。"]),
        ("100 %", ["It is 100 % sure_"]),
        ("sure_", ["It is 100 % sure_"]),
        ('a "quoted" word', ['A "quoted" word OR two*']),
        ("two*", ['A "quoted" word OR two*']),
        ("absent", []),
        ("   ", []),
    ],
)
def test_words_are_found_in_any_script(store: Conversations, words: str, found: list[str]) -> None:
    chat = store.create(title="title")
    for text in (
        "What is the CAPITAL of France?",
        "北京是中国的首都。",
        "It is 100 % sure_",
        'A "quoted" word OR two*',
    ):
        store.add(chat.id, "user", text)
    assert [store.message(hit.message).content for hit in store.search(words) if hit.message] == found
    assert [hit.conversation for hit in store.search("TITLE") if hit.message is None] == [chat.id]


def test_what_a_message_says_now_is_found(store: Conversations) -> None:
    chat = store.create(title="t")
    reply = store.add(chat.id, "assistant", "beginning")
    store.save_reply(reply.id, "beginning and the end" + " x" * 200)
    (hit,) = store.search("the end")
    assert (hit.message, hit.snippet.startswith("beginning and the end x"), hit.snippet[-1]) == (reply.id, True, "…")
    store.save_reply(reply.id, "other")
    assert store.search("beginning") == []


# --- replies


PIECES = [Piece("Par", 5, 0.5, (Candidate("Par", 0.5), Candidate(" Lon", 0.25))), Piece("is", 6, 0.125)]


def test_a_reply_is_kept_with_its_tokens(store: Conversations) -> None:
    chat = store.create()
    store.add(chat.id, "user", "?")
    writer = ReplyWriter(store, chat.id, "m")
    for piece in PIECES:
        writer.add(piece)
    message = writer.finish(ReplyReport(new_tokens=2, ending="end", seconds=1.5))
    assert (message.content, message.ending, message.tokens, message.seconds) == ("Paris", "end", 2, 1.5)
    assert message.has_pieces
    assert store.pieces(message.id) == PIECES
    assert store.pieces(store.branch(chat.id)[0].id) == []


def test_an_engine_answers_the_shown_branch(store: Conversations, tiny_chat: Callable[[str], LoadedModel]) -> None:
    engine, options = TorchEngine(tiny_chat("llama")), ReplyOptions(max_new_tokens=8)
    chat = store.create()
    store.add(chat.id, "user", "Hello")
    told: list[Piece] = []
    message = write_reply(store, chat.id, engine, options, JobContext(), told.append)
    assert message.content == "".join(piece.text for piece in told).strip()
    assert (message.model, message.ending) == (engine.reference, engine.report.ending)
    again = write_reply(store, chat.id, engine, options, JobContext(), told.append)
    assert store.siblings(message.id) == [message.id, again.id]
    assert again.content == message.content
    control = Control()
    with pytest.raises(Cancelled):
        write_reply(store, chat.id, engine, options, JobContext(control=control), lambda piece: control.cancel())
    cut_off = store.branch(chat.id)[-1]
    assert (cut_off.ending, [piece.token_id for piece in store.pieces(cut_off.id)]) == ("", [told[0].token_id])
    with pytest.raises(Cancelled):
        write_reply(store, chat.id, engine, options, JobContext(control=control), told.append)
    assert len(store.siblings(message.id)) == 3  # nothing came, so nothing is kept


_WRITES_FOR_EVER = """
import sys, time
from lmstudio_app.chat.conversations import Conversations
from lmstudio_app.chat.engine import Piece
from lmstudio_app.chat.reply_writer import ReplyWriter
store = Conversations()
chat = store.create()
store.add(chat.id, "user", "count")
writer = ReplyWriter(store, chat.id, "m")
for number in range(10**6):
    writer.add(Piece(f"{number} ", number, 1.0))
    print(number, flush=True)
    time.sleep(0.01)
"""


def test_a_killed_process_loses_a_second_of_its_reply(app_home: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", _WRITES_FOR_EVER], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    started, last = 0.0, 0
    for line in process.stdout:
        started = started or time.monotonic()
        last = int(line)
        if time.monotonic() - started > 2.5:
            break
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with Conversations() as store:
        (chat,) = store.all()
        question, reply = store.branch(chat.id)
        assert (question.content, reply.ending) == ("count", "")
        numbers = [int(word) for word in reply.content.split()]
        assert numbers == list(range(len(numbers)))
        assert last - len(numbers) < 150  # about a hundred a second
        store.add(chat.id, "user", "still here?")


_ADDS = """
import sys
from lmstudio_app.chat.conversations import Conversations
with Conversations() as store:
    for number in range(40):
        chat = store.create(title=f"{sys.argv[1]} {number}")
        store.add(chat.id, "user", "hello")
"""


def test_processes_and_threads_write_at_the_same_time(app_home: Path) -> None:
    workers = [subprocess.Popen([sys.executable, "-c", _ADDS, name]) for name in ("a", "b")]
    with Conversations() as store:
        chat = store.create(title="threads")
        before = store.changes

        def _add(name: int) -> None:
            for number in range(20):
                store.add(chat.id, "user", f"{name} {number}", at_root=True)

        threads = [threading.Thread(target=_add, args=(name,)) for name in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [worker.wait() for worker in workers] == [0, 0]
        assert store.changes != before
        assert len(store.all()) == 81
        assert len(store.messages(chat.id)) == 60


# --- the file


def test_an_older_file_is_brought_up_to_date(app_home: Path) -> None:
    path = conversations_file()
    path.parent.mkdir(parents=True)
    old = sqlite3.connect(path)
    old.executescript(STEPS[0])
    old.execute("INSERT INTO conversations VALUES (1, 'old', 'm', '', '', '{}', 1.0, 1.0, NULL, NULL)")
    old.execute("INSERT INTO messages (conversation, role, content, created) VALUES (1, 'user', 'ancient words', 1.0)")
    old.execute("PRAGMA user_version = 1")
    old.commit()
    old.close()
    with Conversations() as store:
        assert [hit.title for hit in store.search("ancient")] == ["old"]
    assert sqlite3.connect(path).execute("PRAGMA user_version").fetchone() == (len(STEPS),)


def test_a_newer_or_damaged_file_is_told_of_and_left_alone(app_home: Path) -> None:
    Conversations().close()
    path = conversations_file()
    with sqlite3.connect(path) as file:
        file.execute("PRAGMA user_version = 99")
    with pytest.raises(UserError, match="newer version"):
        Conversations()
    path.write_bytes(b"no database at all, but long enough to be one" * 50)
    for beside in path.parent.glob("*-wal"):
        beside.unlink()
    before = path.read_bytes()
    with pytest.raises(UserError, match="damaged"):
        Conversations()
    assert path.read_bytes() == before


def test_a_file_that_is_damaged_in_its_middle_is_told_of(app_home: Path) -> None:
    with Conversations() as store:
        for _ in range(20):
            store.add(store.create(title="T").id, "user", "word " * 2000)
    path = conversations_file()
    with path.open("r+b") as file:  # the schema is whole, and the rest is not
        file.seek(8192)
        file.write(b"\0" * (path.stat().st_size - 8192))
    with pytest.raises(UserError, match="damaged"), Conversations() as store:
        store.all()
    database = Database(path)
    with pytest.raises(UserError, match="damaged"):
        database.rows("SELECT content FROM messages")
    with pytest.raises(UserError, match="damaged"):
        database.change("UPDATE messages SET role = 'user'")
    database.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no limits of file sizes")
def test_a_disk_without_room_is_not_called_damage(app_home: Path) -> None:
    code = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    code += "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); "
    code += "from lmstudio_app.chat.conversations import Conversations; Conversations()"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr
    assert "cannot be used" in told.splitlines()[-1]
    assert "damaged" not in told.splitlines()[-1]
    Conversations().close()  # it goes on as soon as there is room


# --- files of conversations


def test_what_is_exported_comes_back_with_its_branches(store: Conversations) -> None:
    chat = store.create(title="T", model="m", system="Be kind.", preset="Precise", options={"top_k": 3})
    question = store.add(chat.id, "user", "one")
    store.add(chat.id, "assistant", "first", model="m")
    store.add(chat.id, "assistant", "第二", parent=question.id, model="n")
    store.edit(question.id, "uno")
    store.show(question.id, to_end=True)
    plain = store.create(title="P")
    store.add(plain.id, "user", "only")
    text = to_jsonl(store, [chat.id, plain.id])
    row, simple = map(json.loads, text.splitlines())
    assert row["messages"][:2] == [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "one"}]
    assert "tree" not in simple
    made = from_jsonl(store, text.splitlines())
    assert to_jsonl(store, [known.id for known in made]) == text
    markdown = to_markdown(store, chat.id)
    assert markdown.startswith("# T\n")
    assert "**Assistant**\n\n第二\n" in markdown
    assert "first" not in markdown


def test_chats_of_others_are_taken_in(store: Conversations) -> None:
    shared = {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}
    (made,) = from_jsonl(store, ["", json.dumps(shared)])
    assert [(m.role, m.content) for m in store.branch(made.id)] == [("user", "Hi"), ("assistant", "Hello")]


@pytest.mark.parametrize(
    "line",
    ["no json", "[1]", "{}", '{"messages": [{"role": "king", "content": "x"}]}',
     '{"messages": [], "tree": [{"role": "user", "content": "x", "parent": 0}]}'],
)  # fmt: skip
def test_of_a_bad_file_nothing_is_taken_in(store: Conversations, line: str) -> None:
    good = '{"messages": [{"role": "user", "content": "fine"}]}'
    with pytest.raises(UserError, match="Line 2 is no conversation"):
        from_jsonl(store, [good, line])
    assert store.all() == []
