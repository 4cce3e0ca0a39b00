"""A file of questions through a knowledge base."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.knowledge.answering import AskOptions
from lmstudio_app.knowledge.building import BuildRequest, build_knowledge_base
from lmstudio_app.knowledge.encoder import Encoder
from lmstudio_app.knowledge.prediction import content_digest, knowledge_prediction
from lmstudio_app.knowledge.shelf import create_base
from lmstudio_app.models.loading import LoadRequest, load_model
from lmstudio_app.playground.files import FileRequest, predict_file


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    asked = ["When do cats hunt?", "What makes the dough rise?", "Who wrote Carmen?"]
    path.write_text("".join(json.dumps({"question": question}) + "\n" for question in asked), encoding="utf-8")
    return path


def test_a_file_of_questions_is_answered_by_name(
    tmp_path: Path, folder: Path, questions: Path, encoder: Encoder
) -> None:
    made = create_base("Cats")
    build_knowledge_base(BuildRequest(made, (folder,)), JobContext(), encoder)
    prediction = knowledge_prediction("cats", device="cpu")
    options = AskOptions(top=2, min_probability=0.0)
    request = FileRequest(prediction, questions, tmp_path / "out.jsonl", options, subject=content_digest(made))
    report = predict_file(request, None, JobContext())
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert report.rows == len(rows) == 3
    for row in rows:
        assert row.keys() >= {"answer", "score", "sources"}
        assert row["kind"] == "sentence"
        assert len(row["sources"]) == 2
        source = row["sources"][0]
        assert Path(source["file"]).read_text(encoding="utf-8")[source["start"] : source["end"]] == source["text"]
    strict = AskOptions(min_probability=1.0)
    for found in prediction.predict(None, [{"question": "When do cats hunt?"}], JobContext(), strict):  # type: ignore[arg-type]
        assert not found.is_found


def test_the_digest_follows_the_files(folder: Path, encoder: Encoder) -> None:
    made = create_base("Cats")
    assert content_digest(made) == ""
    build_knowledge_base(BuildRequest(made, (folder,)), JobContext(), encoder)
    first = content_digest(made)
    build_knowledge_base(BuildRequest(made), JobContext(), encoder)
    assert content_digest(made) == first
    (folder / "cats.txt").write_text("Cats purr.")
    build_knowledge_base(BuildRequest(made), JobContext(), encoder)
    assert content_digest(made) != first


def test_a_model_of_another_kind_and_a_base_that_is_not_there_are_refused(
    tmp_path: Path, tiny_classifier: Path
) -> None:
    loaded = load_model(LoadRequest(str(tiny_classifier), device="cpu"), JobContext())
    rows = [{"question": "When?"}]
    with pytest.raises(UserError, match="neither marks"):
        next(knowledge_prediction(tmp_path).predict(loaded, rows, JobContext(), AskOptions()))
    with pytest.raises(UserError, match="no knowledge base"):
        next(knowledge_prediction(tmp_path / "none").predict(None, rows, JobContext(), AskOptions()))  # type: ignore[arg-type]
