from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset

from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.jobs import Control, JobContext
from lmstudio_app.models.loading import LoadRequest, load_model
from lmstudio_app.tasks import find_task
from lmstudio_app.tasks.classification import ClassificationMetrics, choose_label_names, label_ids
from lmstudio_app.tasks.sentiment import SENTIMENT, label_names


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
    metrics.add({"labels": labels, "rows": torch.arange(4)}, logits)
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
    together = list(SENTIMENT.predict(loaded, rows, JobContext(), 4))
    alone = [next(SENTIMENT.predict(loaded, [row], JobContext(), 1)) for row in rows]
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
    outputs = SENTIMENT.predict(loaded, endless(), JobContext(None, control), 4)
    next(outputs)
    assert len(taken) == 64
    control.cancel()
    with pytest.raises(Cancelled):
        list(outputs)


def test_what_cannot_be_predicted_is_told(tiny_encoder: Path, tiny_classifier: Path) -> None:
    encoder = load_model(LoadRequest(str(tiny_encoder), device="cpu"), JobContext())
    with pytest.raises(UserError, match="no classification head"):
        list(SENTIMENT.predict(encoder, [{"text": "x"}], JobContext(), 4))
    classifier = load_model(LoadRequest(str(tiny_classifier), device="cpu"), JobContext())
    with pytest.raises(UserError, match="no text"):
        list(SENTIMENT.predict(classifier, [{"txt": "x"}], JobContext(), 4))
    with pytest.raises(UserError, match="no task"):
        find_task("juggling")
