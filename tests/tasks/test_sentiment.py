from __future__ import annotations

import copy
import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset

from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.jobs import Control, JobContext
from lmstudio_app.models.loading import LoadedModel, LoadRequest, load_model, quiet_transformers
from lmstudio_app.tasks import find_task
from lmstudio_app.tasks.classification import ClassificationMetrics, choose_label_names, label_ids
from lmstudio_app.tasks.sentiment import JUDGE, label_names


def data(labels: list[object]) -> Dataset:
    return Dataset.from_dict({"text": ["x"] * len(labels), "label": labels})


@pytest.mark.parametrize("labels", [[0, 1, 1], ["0", "1"], [0.0, 1.0], [False, True]])
def test_zero_and_one_are_named(labels: list[object]) -> None:
    assert label_names(data(labels), data(labels), None) == ("negative", "positive")


def test_names_of_the_data_are_kept_and_those_of_the_model_win() -> None:
    texts = data(["good", "bad", "so-so"])
    assert label_names(texts, texts, None) == ("bad", "good", "so-so")
    assert label_names(texts, texts, {0: "LABEL_0", 1: "LABEL_1"}) == ("bad", "good", "so-so")
    assert label_names(texts, texts, {0: "good", 1: "bad", 2: "so-so"}) == ("good", "bad", "so-so")
    assert label_names(data([0, 1]), data([1, 0]), {0: "NEG", 1: "POS"}) == ("NEG", "POS")
    assert label_names(data([1, 2, 3, 4, 10]), data([1]), None) == ("1", "2", "3", "4", "10")


def test_a_label_seen_in_the_evaluation_alone_counts() -> None:
    assert label_names(data(["a", "b"]), data(["c"]), None) == ("a", "b", "c")


def test_one_class_or_a_thousand_is_no_classification() -> None:
    with pytest.raises(UserError, match="only one class"):
        choose_label_names(["1"], None)
    with pytest.raises(UserError, match="no set of classes"):
        choose_label_names([str(number) for number in range(2000)], None)


def test_label_ids_by_name_case_and_number() -> None:
    assert label_ids(["Positive", "negative", 1, "0", 1.0], ("negative", "positive")) == [1, 0, 1, 0, 1]
    with pytest.raises(UserError, match="neutral"):
        label_ids(["neutral"], ("negative", "positive"))


def test_metrics_follow_their_formulas() -> None:
    metrics = ClassificationMetrics(("a", "b", "c"))
    logits = torch.log(torch.tensor([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.2, 0.7, 0.1]]))
    labels = torch.tensor([0, 1, 1, 0])
    metrics.add(logits, labels, torch.arange(4))
    values, details = metrics.compute()
    assert values["accuracy"] == 0.5
    # class a: TP 1, FP 1, FN 1; class b the same; class c is neither there nor predicted
    assert values["f1_macro"] == pytest.approx(0.5)
    assert values["loss"] == pytest.approx(float(-np.log([0.7, 0.3, 0.8, 0.2]).mean()), abs=1e-6)
    assert details["confusion"] == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert [item["row"] for item in details["worst"]] == [3, 1]
    assert details["worst"][0]["probability"] == pytest.approx(0.7)


def test_prediction_keeps_the_order_and_equals_one_by_one(tiny_classifier: Path) -> None:
    loaded = load_model(LoadRequest(str(tiny_classifier), device="cpu"), JobContext())
    rows = [{"text": " ".join(["film"] * (1 + (7 * number) % 23)) + f" {number}"} for number in range(70)]
    together = list(JUDGE.predict(loaded, rows, JobContext(), JUDGE.options(batch_size=4)))
    alone = [next(JUDGE.predict(loaded, [row], JobContext(), JUDGE.options(batch_size=1))) for row in rows]
    for first, second in zip(together, alone, strict=True):
        assert first.scores == pytest.approx(second.scores, abs=1e-5)
    assert together[0].to_row()["scores"].keys() == {"negative", "positive"}


def test_prediction_streams_and_stops(tiny_classifier: Path) -> None:
    loaded = load_model(LoadRequest(str(tiny_classifier), device="cpu"), JobContext())
    taken = []

    def endless() -> Iterator[dict[str, str]]:
        while True:
            taken.append(1)
            yield {"text": "a film"}

    control = Control()
    outputs = JUDGE.predict(loaded, endless(), JobContext(None, control), JUDGE.options(batch_size=4))
    next(outputs)
    assert len(taken) == 64
    control.cancel()
    with pytest.raises(Cancelled):
        list(outputs)


def edited_classifier(tiny_classifier: Path, folder: Path, **config: object) -> LoadedModel:
    """The tiny classifier with another ``config.json``."""
    shutil.copytree(tiny_classifier, folder)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **config}), encoding="utf-8")
    return load_model(LoadRequest(str(folder), device="cpu"), JobContext())


def test_several_labels_at_once_have_probabilities_of_their_own(tiny_classifier: Path, tmp_path: Path) -> None:
    loaded = edited_classifier(tiny_classifier, tmp_path / "model", problem_type="multi_label_classification")
    (output,) = JUDGE.predict(loaded, [{"text": "a film"}], JobContext(), JUDGE.options(batch_size=1))
    with torch.inference_mode():
        logits = loaded.model(**loaded.tokenizer("a film", return_tensors="pt")).logits[0]
    assert list(output.scores.values()) == pytest.approx(logits.sigmoid().tolist(), abs=1e-6)


def test_a_pair_is_read_and_may_be_missing(tiny_classifier: Path) -> None:
    loaded = load_model(LoadRequest(str(tiny_classifier), device="cpu"), JobContext())
    rows = [{"text": "a film", "pair": "a story"}, {"text": "a film", "pair": None}, {"text": "a film"}]
    with_pair, without, missing = JUDGE.predict(loaded, rows, JobContext(), JUDGE.options(batch_size=4))
    assert without == missing != with_pair


def test_a_model_without_a_longest_text_reads_any(tiny_classifier: Path, tmp_path: Path) -> None:
    """BLOOM numbers no positions, and its tokenizer may say that there is no limit."""
    import transformers

    folder = tmp_path / "bloom"
    tokenizer = load_model(LoadRequest(str(tiny_classifier), device="cpu"), JobContext()).tokenizer
    sizes = {"hidden_size": 32, "n_layer": 2, "n_head": 4, "vocab_size": len(tokenizer), "pad_token_id": 0}
    with quiet_transformers():
        transformers.BloomForSequenceClassification(transformers.BloomConfig(**sizes)).save_pretrained(folder)
        tokenizer.model_max_length = int(1e30)
        tokenizer.save_pretrained(folder)
    loaded = load_model(LoadRequest(str(folder), device="cpu"), JobContext())
    assert loaded.card.max_length == 0
    assert (
        len(
            list(
                JUDGE.predict(
                    loaded, [{"text": "a film " * 300}, {"text": "a"}], JobContext(), JUDGE.options(batch_size=2)
                )
            )
        )
        == 2
    )


def test_what_cannot_be_predicted_is_told(tiny_encoder: Path, tiny_classifier: Path) -> None:
    encoder = load_model(LoadRequest(str(tiny_encoder), device="cpu"), JobContext())
    with pytest.raises(UserError, match="no classification head"):
        list(JUDGE.predict(encoder, [{"text": "x"}], JobContext(), JUDGE.options(batch_size=4)))
    classifier = load_model(LoadRequest(str(tiny_classifier), device="cpu"), JobContext())
    number = dataclasses.replace(classifier, model=copy.deepcopy(classifier.model))
    number.model.config.id2label = {0: "score"}
    with pytest.raises(UserError, match="one number"):
        list(JUDGE.predict(number, [{"text": "x"}], JobContext(), JUDGE.options(batch_size=4)))
    with pytest.raises(UserError, match="no text"):
        list(JUDGE.predict(classifier, [{"txt": "x"}], JobContext(), JUDGE.options(batch_size=4)))
    with pytest.raises(UserError, match="no task"):
        find_task("juggling")
