"""Labels as files have them, and texts that hold nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.loading import LoadRequest, load_model
from lmstudio_app.tasks.classification import (
    choose_label_names,
    distinct_labels,
    encode_texts,
    label_ids,
    predict_labels,
)
from lmstudio_app.tasks.task import Setup


def dataset(*labels: Any) -> Any:
    from datasets import Dataset

    return Dataset.from_dict({"label": list(labels)})


def test_labels_that_only_look_like_numbers_are_sorted_as_texts() -> None:
    assert distinct_labels(dataset("²", "①", "--1", "1-", "10", "9", "-3")) == ["-3", "9", "10", "--1", "1-", "²", "①"]


def test_labels_that_differ_in_case_alone_stay_apart() -> None:
    names = choose_label_names(["A", "a", "b"], None)
    assert label_ids(["a", "A", "b", "B"], names) == [1, 0, 2, 2]
    with pytest.raises(UserError, match="ß"):
        label_ids(["ß"], names)


def test_the_models_names_win_where_every_label_is_one() -> None:
    own = {0: "NEGATIVE", 1: "POSITIVE"}
    for found in (["negative", "positive"], ["0", "1"], ["NEGATIVE", "POSITIVE"], ["Positive", "negative"]):
        assert choose_label_names(found, own) == ("NEGATIVE", "POSITIVE")
    assert choose_label_names(["bad", "good"], own) == ("bad", "good")
    assert choose_label_names(["0", "1", "2"], own) == ("0", "1", "2")
    assert choose_label_names(["-1", "0"], own) == ("-1", "0")


def test_numbers_are_no_ids_where_the_models_names_are_numbers() -> None:
    """A model of one to three stars, and data that counts from 0: 1 would be two things."""
    stars = {0: "1", 1: "2", 2: "3"}
    assert choose_label_names(["1", "2", "3"], stars) == ("1", "2", "3")
    names = choose_label_names(["0", "1", "2"], stars)
    assert names == ("0", "1", "2")
    assert label_ids(["0", "1", "2"], names) == [0, 1, 2]


def test_labels_of_any_script_keep_their_names() -> None:
    names = choose_label_names(distinct_labels(dataset("差", "好 评", "差")), None)
    assert label_ids(["好 评", "差"], names) == [0, 1]


def test_a_text_without_a_token_becomes_one() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordLevel({"<s>": 0, "good": 1, "<unk>": 2}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", unk_token="<unk>")
    encoded = encode_texts({"text": ["", "good", "  "]}, Setup(tokenizer, (), 8))
    assert encoded["input_ids"] == [[0], [1], [0]]


def test_half_a_character_in_a_text_is_judged_as_an_unknown_one(tiny_classifier: Path) -> None:
    loaded = load_model(LoadRequest(str(tiny_classifier), device="cpu"), JobContext())
    rows = [{"text": "\ud83d good"}, {"text": "\ufffd good"}]
    half, unknown = predict_labels(loaded, rows, JobContext())
    assert half.scores == unknown.scores
