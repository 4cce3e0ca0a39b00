"""Both answers to one question, told as they come."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lmstudio_app.chat.engine import ChatEngine, open_engine
from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.events import Event, TextChunk
from lmstudio_app.jobs import JobContext
from lmstudio_app.knowledge.answering import AskOptions
from lmstudio_app.knowledge.asking import AnswerMarked, PassagesFound, ask
from lmstudio_app.knowledge.building import BuildRequest, build_knowledge_base
from lmstudio_app.knowledge.citations import cite
from lmstudio_app.knowledge.desk import Desk
from lmstudio_app.knowledge.encoder import Encoder
from lmstudio_app.knowledge.search import KnowledgeBase
from lmstudio_app.models.loading import LoadedModel
from tests.knowledge.conftest import Listener

ALWAYS = AskOptions(top=3, min_probability=0.0, min_score=0.0, max_new_tokens=12)
QUESTION = "When do cats hunt?"


@pytest.fixture
def base(tmp_path: Path, folder: Path, encoder: Encoder) -> Iterator[KnowledgeBase]:
    build_knowledge_base(BuildRequest(tmp_path / "base", (folder,)), JobContext(), encoder)
    with KnowledgeBase(tmp_path / "base", encoder) as opened:
        yield opened


@pytest.fixture
def engine(chat: LoadedModel) -> Iterator[ChatEngine]:
    made = open_engine(chat, JobContext())
    yield made
    made.close()


def test_what_comes_is_told_in_its_order(
    base: KnowledgeBase, reader: LoadedModel, engine: ChatEngine, ctx: Listener
) -> None:
    both = ask(base, f" {QUESTION}\n", ctx, ALWAYS, reader=reader, chat=engine)
    told = [event for event in ctx.events if isinstance(event, PassagesFound | AnswerMarked | TextChunk)]
    assert isinstance(told[0], PassagesFound)
    assert isinstance(told[1], AnswerMarked)
    assert len(told) > 4
    assert all(isinstance(event, TextChunk) for event in told[2:])
    assert told[0].passages == both.passages
    assert told[1].answer == both.marked
    assert both.marked.kind == "extracted"
    assert both.written is not None
    assert both.written.answer == "".join(e.text for e in told[2:] if isinstance(e, TextChunk)).strip()
    assert both.answer is both.written
    assert both.written.span == both.marked.span
    assert both.written.sources == both.marked.sources
    assert both.question == QUESTION
    assert both.tokens == 12
    assert 0 < both.reading < both.writing <= both.seconds
    assert both.tokens_per_second == pytest.approx(11 / (both.writing - both.reading))
    row = both.answer.to_row()
    assert row["extracted"]["answer"] == both.marked.answer
    assert row.get("citations", []) == [citation.to_row() for citation in both.written.citations]


def test_without_a_chat_model_what_is_marked_is_the_answer(base: KnowledgeBase, reader: LoadedModel) -> None:
    both = ask(base, QUESTION, JobContext(), ALWAYS, reader=reader)
    assert both.written is None
    assert both.answer is both.marked
    alone = ask(base, QUESTION, JobContext(), ALWAYS)
    assert alone.marked.kind == "sentence"
    assert [source.probability for source in alone.passages] == [
        source.probability for source in both.passages
    ]  # fmt: skip


def test_what_is_not_in_there_is_said_so_and_the_nearest_passages_are_offered(
    base: KnowledgeBase, reader: LoadedModel, engine: ChatEngine, ctx: Listener
) -> None:
    both = ask(base, QUESTION, ctx, AskOptions(top=3, min_probability=1.0), reader=reader, chat=engine)
    assert not both.answer.is_found
    assert both.written is None
    assert len(both.passages) == 3
    assert not any(isinstance(event, TextChunk) for event in ctx.events)


def test_nothing_is_found_where_nothing_is(tmp_path: Path, encoder: Encoder) -> None:
    (tmp_path / "files").mkdir()
    build_knowledge_base(BuildRequest(tmp_path / "base", (tmp_path / "files",)), JobContext(), encoder)
    with KnowledgeBase(tmp_path / "base", encoder) as opened:
        both = ask(opened, QUESTION, JobContext(), ALWAYS)
    assert (both.passages, both.probability, both.answer.is_found) == ((), 0.0, False)
    assert both.answer.score == 1.0


def test_a_stop_ends_the_writing_where_it_is(base: KnowledgeBase, engine: ChatEngine) -> None:
    ctx = JobContext(lambda event: stop(event))
    pieces = []

    def stop(event: Event) -> None:
        if isinstance(event, TextChunk):
            pieces.append(event.text)
            if len(pieces) == 3:
                ctx.control.stop()

    both = ask(base, QUESTION, ctx, ALWAYS, chat=engine)
    assert both.was_stopped
    assert len(pieces) <= 4
    assert both.written is not None
    assert both.written.answer == "".join(pieces).strip()
    assert both.written.citations == ()


def test_a_stop_before_the_writing_leaves_what_is_marked(base: KnowledgeBase, engine: ChatEngine) -> None:
    ctx = JobContext(lambda event: ctx.control.stop() if isinstance(event, PassagesFound) else None)
    both = ask(base, QUESTION, ctx, ALWAYS, chat=engine)
    assert both.was_stopped
    assert both.marked.is_found
    assert both.written is None


def test_a_cancel_ends_it_at_once(base: KnowledgeBase, reader: LoadedModel) -> None:
    ctx = JobContext(lambda event: ctx.control.cancel() if isinstance(event, PassagesFound) else None)
    with pytest.raises(Cancelled):
        ask(base, QUESTION, ctx, ALWAYS, reader=reader)


def test_an_empty_question_is_refused(base: KnowledgeBase) -> None:
    with pytest.raises(UserError, match="empty"):
        ask(base, "  ", JobContext())


def test_sentences_are_given_the_passages_that_say_the_same(real_encoder: Encoder) -> None:
    passages = [
        "Bread is baked from flour. Yeast makes the dough rise.",
        "Cats sleep for most of the day. They hunt at night.",
        "The moon goes around the earth in 27 days.",
    ]
    answer = "Cats go hunting at night. The dough rises because of yeast. Elephants never forget. The moon is far [3]."
    citations = cite(answer, passages, real_encoder, JobContext())
    assert [citation.sources for citation in citations] == [(2,), (1,), (), (3,)]
    assert answer[citations[1].start : citations[1].end] == "The dough rises because of yeast."
    assert cite("", passages, real_encoder, JobContext()) == ()
    assert [c.sources for c in cite("Cats hunt at night.", [], real_encoder, JobContext())] == [()]


def test_the_desk_keeps_one_open_and_notices_what_changes(
    tmp_path: Path, folder: Path, encoder: Encoder, tiny_encoder: Path, real_encoder: Encoder, starter_encoder: Path
) -> None:
    ctx, desk = JobContext(), Desk()
    first, second = tmp_path / "first", tmp_path / "second"
    build_knowledge_base(BuildRequest(first, (folder,)), ctx, encoder)
    build_knowledge_base(BuildRequest(second, (folder / "cats.txt",)), ctx, encoder)
    opened = desk.open(first, ctx)
    assert desk.open(first, ctx) is opened
    kept = opened.encoder(ctx)
    other = desk.open(second, ctx)
    assert other.encoder(ctx) is kept
    assert other.count_passages() == 1
    build_knowledge_base(BuildRequest(second), ctx, real_encoder)
    anew = desk.open(second, ctx)
    assert anew.encoder(ctx).identity.reference == str(starter_encoder)
    assert anew.search("night", ctx)
    desk.close()
    desk.close()
    with pytest.raises(UserError, match="no knowledge base"):
        desk.open(tmp_path / "none", ctx)


def test_an_encoder_that_is_gone_is_named(tmp_path: Path, folder: Path, tiny_encoder: Path) -> None:
    import shutil

    from lmstudio_app.models.loading import LoadRequest, load_model

    copied = shutil.copytree(tiny_encoder, tmp_path / "my encoder")
    loaded = load_model(LoadRequest(str(copied), head="base", device="cpu"), JobContext())
    build_knowledge_base(BuildRequest(tmp_path / "base", (folder,)), JobContext(), Encoder(loaded))
    shutil.rmtree(copied)
    with pytest.raises(UserError, match="not on this computer") as caught:
        Desk().open(tmp_path / "base", JobContext())
    assert "build the knowledge base anew" in caught.value.remedy
