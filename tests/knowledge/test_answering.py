"""Answers with their sources, and that there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.knowledge.answering import AskOptions, answer, answer_rows, worth_reading
from lmstudio_app.knowledge.answers import NOT_FOUND, KnowledgeAnswer, Source
from lmstudio_app.knowledge.building import BuildRequest, build_knowledge_base
from lmstudio_app.knowledge.encoder import Encoder
from lmstudio_app.knowledge.marking import probability
from lmstudio_app.knowledge.search import KnowledgeBase
from lmstudio_app.knowledge.writing import chat_messages, fit_passages, plain_lines
from lmstudio_app.models.loading import LoadedModel

ALWAYS = AskOptions(top=3, min_probability=0.0, min_score=0.0, max_new_tokens=8)


@pytest.fixture
def base(tmp_path: Path, folder: Path, encoder: Encoder) -> Any:
    build_knowledge_base(BuildRequest(tmp_path / "base", (folder,)), JobContext(), encoder)
    with KnowledgeBase(tmp_path / "base", encoder) as opened:
        yield opened


@pytest.fixture
def real_base(tmp_path: Path, folder: Path, real_encoder: Encoder) -> Any:
    build_knowledge_base(BuildRequest(tmp_path / "real", (folder,)), JobContext(), real_encoder)
    with KnowledgeBase(tmp_path / "real", real_encoder) as opened:
        yield opened


def check_places(base: KnowledgeBase, row: dict[str, Any]) -> None:
    for source in row["sources"]:
        assert Path(source["file"]).read_text(encoding="utf-8")[source["start"] : source["end"]] == source["text"]
    if "start" in row:
        text = base.text(row["sources"][0]["file"])
        assert text is not None
        assert text[row["start"] : row["end"]] == row["answer"]
        assert row["sources"][0]["start"] <= row["start"] < row["end"] <= row["sources"][0]["end"]


def test_the_nearest_sentence_answers_with_its_place(real_base: KnowledgeBase) -> None:
    for question, expected in (
        ("How long does the moon take to go around the earth?", "The moon goes around the earth in 27 days."),
        ("What makes dough rise?", "Yeast makes the dough rise."),
        ("When do cats hunt?", "They hunt at night."),
    ):
        found = answer(real_base, question, JobContext(), AskOptions(top=2))
        assert (found.answer, found.kind) == (expected, "sentence")
        assert found.score > 0.9
        assert 1 <= len(found.sources) <= 2
        check_places(real_base, found.to_row())


@pytest.mark.parametrize(
    "question", ["Who wrote the opera Carmen?", "How do I repair a bicycle?", "人工智能是什么？", " "]
)
def test_what_is_not_in_there_is_said_so(real_base: KnowledgeBase, question: str) -> None:
    found = answer(real_base, question, JobContext())
    assert not found.is_found
    assert found.to_row() == {"answer": NOT_FOUND, "score": found.score, "sources": [], "kind": "none"}
    assert found.score > 0.6


def test_probability_grows_with_both_signs() -> None:
    question, text = "When do cats sleep?", "Cats sleep at noon."
    assert probability(question, text, 0.6) > probability(question, "Dogs bark.", 0.6) > 0.5
    assert probability(question, "Dogs bark.", 0.6) > probability(question, "Dogs bark.", 0.3)
    assert probability(question, "Dogs bark.", 0.1) < 0.01
    assert probability(question, "Dogs bark.", None) < 0.01


def test_a_reader_marks_a_span(base: KnowledgeBase, reader: LoadedModel) -> None:
    questions = ["When do cats hunt?", "What makes the dough rise?", "How long does it take?"]
    answers = list(answer_rows(base, [{"question": q} for q in questions], JobContext(), ALWAYS, reader=reader))
    assert [found.kind for found in answers] == ["extracted"] * 3
    for found in answers:
        row = found.to_row()
        assert found.answer
        assert 0 <= row["score"] <= 1
        assert "start" in row
        assert len(row["sources"]) == 3
        check_places(base, row)
    assert answers[1] == answer(base, questions[1], JobContext(), ALWAYS, reader=reader)
    strict = AskOptions(top=3, min_probability=0.0, min_score=1.0)
    assert not answer(base, questions[0], JobContext(), strict, reader=reader).is_found


def test_a_chat_model_writes_and_a_reader_marks_beside_it(
    base: KnowledgeBase, reader: LoadedModel, chat: LoadedModel
) -> None:
    found = answer(base, "When do cats hunt?", JobContext(), ALWAYS, reader=reader, chat=chat)
    assert found.kind == "generated"
    assert found.answer
    assert found.span is not None
    assert found.sources[0].file == found.span.file
    row = found.to_row()
    assert "start" not in row  # it does not stand so in the file
    check_places(base, row)
    beside = row["extracted"]
    assert (base.text(beside["file"]) or "")[beside["start"] : beside["end"]] == beside["answer"]
    assert 0 <= beside["score"] <= 1
    alone = answer(base, "When do cats hunt?", JobContext(), ALWAYS, chat=chat)
    assert (alone.kind, alone.answer) == ("generated", found.answer)


def test_a_chat_model_is_given_as_many_passages_as_it_can_read(base: KnowledgeBase, chat: LoadedModel) -> None:
    found = base.search("cats moon bread", JobContext(), top=4)
    count = lambda messages: sum(len(chat.tokenizer(m["content"])["input_ids"]) for m in messages)  # noqa: E731
    kept = fit_passages("Why?", found, 220, count)
    assert 1 <= len(kept) < len(found) == 4
    assert kept == found[: len(kept)]
    system, user = chat_messages("Why?", kept)
    assert NOT_FOUND in system["content"]
    assert "\n".join(plain_lines(kept[0].text)) in user["content"]
    assert plain_lines("## Bread\n\n> It is *baked*.\n- from flour") == ["Bread", "It is *baked*.", "from flour"]
    assert user["content"].endswith("Question: Why?")


def test_a_chat_model_reads_few_passages_and_only_likely_ones() -> None:
    sources = tuple(Source(f"{n}.txt", 0, 5, "words", probability=p) for n, p in enumerate((0.3, 0.9, 0.1, 0.8, 0.7)))
    marked = KnowledgeAnswer("words", 0.9, sources, "extracted")
    files = [source.file for source in worth_reading(marked, AskOptions(read=3, min_probability=0.4))]
    assert files == ["0.txt", "1.txt", "3.txt"]
    assert len(worth_reading(marked, AskOptions(read=1))) == 1


def test_models_of_another_kind_are_refused(base: KnowledgeBase, reader: LoadedModel, chat: LoadedModel) -> None:
    with pytest.raises(UserError, match="does not write text"):
        answer(base, "When do cats hunt?", JobContext(), ALWAYS, chat=reader)
    with pytest.raises(UserError, match="not trained to find answers"):
        answer(base, "When do cats hunt?", JobContext(), ALWAYS, reader=chat)
    with pytest.raises(UserError, match="no question"):
        list(answer_rows(base, [{"text": "no question"}], JobContext()))
