"""MLM and next sentences together: from scratch, from a BERT, exact resume, and pairs that are judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmstudio_app.errors import UserError
from lmstudio_app.events import Status
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.loading import LoadRequest, load_model
from lmstudio_app.tasks.bert_pretraining import PretrainingOptions, collate, encode
from lmstudio_app.tasks.fill_mask import FILL_MASK
from lmstudio_app.tasks.next_sentence import NEXT_SENTENCE
from lmstudio_app.tasks.task import IGNORED, Setup
from lmstudio_app.training.loop import TrainRequest, train
from lmstudio_app.training.recipe import Recipe
from tests.conftest import build_tiny_tokenizer
from tests.tasks.pretraining import SENTENCES, interrupt, recipe, resume, run, write_documents


class _Bert:
    model_type = "bert"


def rows(documents: int = 8) -> dict[str, list[Any]]:
    words = ("film", "story", "phone", "food", "battery", "plot", "service", "movie")
    texts = [
        f"The {words[d]} was good. It is the {words[d]}. I loved that {words[d]} very so." for d in range(documents)
    ]
    return {"text": texts * 1, "document": list(range(documents))}


def test_examples_are_pairs_framed_and_masked_as_in_the_paper() -> None:
    tokenizer = build_tiny_tokenizer()
    setup = Setup(tokenizer, (), 32, PretrainingOptions(), _Bert())
    found = encode(rows(), setup)
    assert len(found["input_ids"]) == 8
    features = [{name: column[index] for name, column in found.items() if name != "row"} for index in range(8)]
    random, follows = np.random.default_rng(0), []
    for _ in range(60):
        batch = collate(features, setup, random)
        ids, labels = batch["input_ids"], batch["labels"]
        assert ids.shape == batch["token_type_ids"].shape == labels.shape == batch["attention_mask"].shape
        assert ids.shape[1] <= 32
        whole = np.where(labels.numpy() != IGNORED, labels.numpy(), ids.numpy())
        for row, types, mask, random_next in zip(
            whole, batch["token_type_ids"].numpy(), batch["attention_mask"].numpy(),
            batch["next_sentence_label"].tolist(), strict=True,
        ):  # fmt: skip
            tokens = tokenizer.convert_ids_to_tokens(row[mask > 0].tolist())
            assert (tokens[0], tokens[-1], tokens.count("[SEP]")) == ("[CLS]", "[SEP]", 2)
            seam = tokens.index("[SEP]")
            assert types[: seam + 1].tolist() == [0] * (seam + 1)
            assert set(types[seam + 1 : len(tokens)].tolist()) == {1}
            subjects = [set(tokens[:seam]) & set(TINY), set(tokens[seam:]) & set(TINY)]
            if all(subjects):
                assert (subjects[0] == subjects[1]) == (random_next == 0)
        follows += (batch["next_sentence_label"] == 0).tolist()
        assert ((labels != IGNORED).sum(1) >= 1).all()
    assert np.mean(follows) == pytest.approx(0.5, abs=0.06)


TINY = ("film", "story", "phone", "food", "battery", "plot", "service", "movie")


def test_duplicates_cut_documents_at_other_sentences() -> None:
    tokenizer = build_tiny_tokenizer()
    texts = {"text": [" ".join(f"The film was good {'very ' * (n % 5)}." for n in range(20))], "document": [3]}
    found = encode(texts, Setup(tokenizer, (), 32, PretrainingOptions(duplicates=4), _Bert()))
    starts: list[int] = []
    at = 0
    for index, number in enumerate(found["piece"]):
        at = 0 if number == 0 else at
        if number == 1:
            starts.append(len(found["input_ids"][index - 1]))
    assert len(starts) == 4
    assert len(set(starts)) > 1
    assert set(found["document"]) == {3}
    assert all(sum(lengths) == len(ids) for lengths, ids in zip(found["sentences"], found["input_ids"], strict=True))


def test_what_gives_no_pairs_is_told(tmp_path: Path) -> None:
    tokenizer = build_tiny_tokenizer()
    setup = Setup(tokenizer, (), 32, PretrainingOptions(), _Bert())
    assert encode({"text": ["One line."], "document": [0]}, setup)["input_ids"] == []
    assert list(setup.notes.values()) == [1]
    data = tmp_path / "text.txt"
    data.write_text("One.\n\nTwo.\n\nThree.\n\nFour.\n", encoding="utf-8")
    events: list[Any] = []
    with pytest.raises(UserError, match="Of 3 rows none can be used: 3 documents of a single sentence"):
        train(TrainRequest(recipe("bert_pretraining", data), tmp_path / "run"), JobContext(events.append))
    assert any("single sentence" in event.template for event in events if isinstance(event, Status) and event.warning)
    with pytest.raises(UserError, match="A pair of texts does not fit 4 tokens"):
        encode(rows(), Setup(tokenizer, (), 4, PretrainingOptions(), _Bert()))


def test_a_new_model_learns_words_and_pairs(tmp_path: Path) -> None:
    data = write_documents(tmp_path / "text.txt", 90, 6)
    values = {"epochs": 20, "dropout": 0.0, "learning_rate": 3e-3, "evaluate_every": 180}
    result, _, evaluations = run(recipe("bert_pretraining", data, **values), tmp_path / "run")
    last = evaluations[-1]
    assert last["loss"] == pytest.approx(last["mlm_loss"] + last["nsp_loss"])
    assert last["mlm_accuracy"] > 0.8
    assert 0.5 <= last["nsp_majority"] < 0.65
    assert last["nsp_accuracy"] > 0.8  # a third of the wrong pairs say the same sentence, and cannot be told
    loaded = load_model(LoadRequest(str(result.model_folder), device="cpu"), JobContext())
    assert loaded.head == "pretraining"
    twice = [f"{sentence} {sentence}" for sentence in SENTENCES]
    pairs = [{"text": twice[n % 3], "pair": twice[(n + n // 3) % 3]} for n in range(9)]
    judged = list(NEXT_SENTENCE.predict(loaded, pairs, JobContext(), NEXT_SENTENCE.options(batch_size=4)))
    for output in judged:
        assert set(output.scores) == {"follows", "random"}
        assert sum(output.scores.values()) == pytest.approx(1, abs=1e-5)
        assert output.label == max(output.scores, key=lambda name: output.scores[name])
    same = np.mean([output.scores["follows"] for output in judged[:3]])
    other = np.mean([output.scores["follows"] for output in judged[3:]])
    assert same > other + 0.2
    (filled,) = FILL_MASK.predict(
        loaded, [{"text": SENTENCES[0].replace("the", "___")}], JobContext(), FILL_MASK.options()
    )
    assert len(filled.places) == 1


def test_a_run_that_goes_on_draws_the_same_pairs_and_masks(tmp_path: Path) -> None:
    data = write_documents(tmp_path / "text.txt")
    wanted = recipe("bert_pretraining", data, gradient_accumulation=2, options={"duplicates": 2})
    _, whole, _ = run(wanted, tmp_path / "whole")
    first = interrupt(wanted, tmp_path / "parts", 3)
    assert len(whole) > 5
    assert first + resume(tmp_path / "parts") == whole


def test_a_pretrained_bert_learns_on_and_other_families_are_refused(tiny_encoder: Path, tmp_path: Path) -> None:
    data = write_documents(tmp_path / "text.txt")
    values = recipe("bert_pretraining", data).to_dict()
    del values["architecture"]
    result, _, evaluations = run(Recipe.from_dict({**values, "model": str(tiny_encoder)}), tmp_path / "run")
    assert evaluations[-1]["mlm_loss"] < evaluations[0]["mlm_loss"] + 0.1
    loaded = load_model(LoadRequest(str(result.model_folder), device="cpu"), JobContext())
    assert type(loaded.model).__name__ == "BertForPreTraining"

    class Roberta:
        model_type = "roberta"

    setup = Setup(build_tiny_tokenizer(), (), 32, PretrainingOptions(), Roberta())
    with pytest.raises(UserError, match="A roberta model has no head that judges"):
        encode(rows(), setup)
    plain = load_model(LoadRequest(str(tiny_encoder), device="cpu"), JobContext())
    with pytest.raises(UserError, match="was not made to judge whether texts follow"):
        list(NEXT_SENTENCE.predict(plain, [{"text": "a", "pair": "b"}], JobContext(), NEXT_SENTENCE.options()))
    with pytest.raises(UserError, match="A row has no pair"):
        list(NEXT_SENTENCE.predict(loaded, [{"text": "a"}], JobContext(), NEXT_SENTENCE.options()))
