"""Labels of one's own, by the three kinds of models that can be asked about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.jobs import Control, JobContext
from lmstudio_app.models.loading import LoadedModel, LoadRequest, load_model, quiet_transformers
from lmstudio_app.tasks import find_prediction
from lmstudio_app.tasks.label_likelihood import WITHOUT_CONTENT
from lmstudio_app.tasks.outputs import Label
from lmstudio_app.tasks.zero_shot import (
    ENTAILMENT,
    LIKELIHOOD,
    SIMILARITY,
    TEMPERATURE,
    TEMPLATE,
    ZERO_SHOT,
    ZeroShotOptions,
    split_labels,
    zero_shot_method,
)
from tests.conftest import build_tiny_bert, build_tiny_tokenizer

TEXTS = ["the film was good", "a very long story about the food, the service and the battery of my phone", "so bad"]


def ask(loaded: LoadedModel, texts: list[str], **options: Any) -> list[Label]:
    rows = [{"text": text} for text in texts]
    return list(ZERO_SHOT.predict(loaded, rows, JobContext(), ZeroShotOptions(**options)))


def load(folder: Path) -> LoadedModel:
    return load_model(LoadRequest(str(folder), device="cpu", precision="float32"), JobContext())


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """A tiny GPT-2 whose weights are large enough for it to have preferences."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("zero-shot") / "gpt2"
    tokenizer = build_tiny_tokenizer()
    config = GPT2Config(
        vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=4, n_positions=64, pad_token_id=0, bos_token_id=2,
        eos_token_id=3,
    )  # fmt: skip
    with torch.random.fork_rng(), quiet_transformers():
        torch.manual_seed(0)
        model = GPT2LMHeadModel(config)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.3)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return load(folder)


def test_labels_are_split_as_people_write_them() -> None:
    assert split_labels("sports, politics ,cooking,,sports") == ("sports", "politics", "cooking")
    assert split_labels("体育，政治、烹饪\nmusic; art") == ("体育", "政治", "烹饪", "music", "art")
    assert split_labels(" ") == ()


def test_each_kind_of_model_has_its_way() -> None:
    assert zero_shot_method("sequence-classification", ("contradiction", "neutral", "entailment")) == ENTAILMENT
    assert zero_shot_method("sequence-classification", ("ENTAILMENT", "NOT_ENTAILMENT")) == ENTAILMENT
    assert zero_shot_method("sequence-classification", ("not_entailment",)) is None
    assert zero_shot_method("sequence-classification", ("negative", "positive")) is None
    assert zero_shot_method("causal-lm", ()) == LIKELIHOOD
    assert zero_shot_method("base", ()) == SIMILARITY
    assert zero_shot_method("seq2seq-lm", ()) is None


def test_a_model_of_inference_judges_by_entailment(tmp_path: Path) -> None:
    """Softmax over the labels of the logit of entailment, of the pair of text and sentence."""
    import torch

    names = ("not_entailment", "neutral", "entailment")
    loaded = load(build_tiny_bert(tmp_path / "nli", labels=names))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for parameter in loaded.model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.5)
    labels = ("the film", "the food", "service")
    found = ask(loaded, TEXTS, labels=", ".join(labels), template="It is about {}.", batch_size=2)
    for text, label in zip(TEXTS, found, strict=True):
        encoded = loaded.tokenizer(
            [text] * 3, [f"It is about {name}." for name in labels], return_tensors="pt", padding=True
        )
        with torch.inference_mode():
            expected = loaded.model(**encoded).logits[:, 2].softmax(0).tolist()
        assert list(label.scores) == list(labels)
        assert list(label.scores.values()) == pytest.approx(expected, abs=1e-5)
        assert label.label == max(label.scores, key=lambda name: label.scores[name])
        assert max(expected) - min(expected) > 0.01


def test_a_writer_judges_by_calibrated_likelihood(writer: LoadedModel) -> None:
    """Mean log-likelihood of the label's tokens, less the mean of the same behind texts without content."""
    import torch

    labels = ("film", "bad food", "phone")

    def likelihood(text: str, label: str) -> float:
        ids = [
            writer.tokenizer(part, add_special_tokens=False)["input_ids"]
            for part in (f"Text: {text}\nThis text is about", f" {label}")
        ]
        whole = torch.tensor([[2, *ids[0], *ids[1]]])  # as the tokenizer begins every text
        with torch.inference_mode():
            shares = writer.model(input_ids=whole).logits[0].double().log_softmax(-1)
        places = range(1 + len(ids[0]), whole.shape[1])
        return float(torch.stack([shares[place - 1, whole[0, place]] for place in places]).mean())

    found = ask(writer, TEXTS, labels=", ".join(labels), batch_size=4)
    for text, label in zip(TEXTS, found, strict=True):
        values = [
            likelihood(text, name) - sum(likelihood(empty, name) for empty in WITHOUT_CONTENT) / 3 for name in labels
        ]
        assert list(label.scores.values()) == pytest.approx(torch.tensor(values).softmax(0).tolist(), abs=1e-4)
    assert len({label.label for label in found} | {str(label.scores) for label in found}) > 2
    # calibrated: over the texts without content no label is ahead of another
    empty = [
        torch.tensor(list(label.scores.values())).log()
        for label in ask(writer, list(WITHOUT_CONTENT), labels=", ".join(labels))
    ]
    mean = torch.stack(empty).mean(0)
    assert mean.tolist() == pytest.approx([float(mean[0])] * 3, abs=1e-4)


def test_a_writer_reads_the_beginning_of_a_text_that_is_too_long(writer: LoadedModel) -> None:
    (whole,) = ask(writer, ["the film was good " * 100], labels="film, food")
    (begun,) = ask(writer, ["the film was good " * 200], labels="film, food")
    assert whole.scores == pytest.approx(begun.scores, abs=1e-6)


def test_an_encoder_judges_by_similarity(tiny_encoder: Path) -> None:
    import numpy as np
    import torch

    loaded = load(tiny_encoder)

    def vector(text: str) -> Any:
        with torch.inference_mode():
            states = loaded.model(**loaded.tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        mean = states.mean(0).double().numpy()
        return mean / np.linalg.norm(mean)

    labels = ("film", "food")
    for text, label in zip(TEXTS, ask(loaded, TEXTS, labels="film, food"), strict=True):
        cosines = [float(vector(text) @ vector(TEMPLATE.replace("{}", name))) for name in labels]
        expected = torch.tensor(cosines).div(TEMPERATURE).softmax(0).tolist()
        assert list(label.scores.values()) == pytest.approx(expected, abs=1e-4)


def test_the_starter_encoder_knows_sports_from_cooking(starter_encoder: Path) -> None:
    loaded = load(starter_encoder)
    texts = [
        "The match ended two to one.",
        "Simmer the onions in butter until they are soft.",
        "Parliament votes on the new budget on Tuesday.",
    ]
    found = ask(loaded, texts, labels="cooking, sports, politics")
    assert [label.label for label in found] == ["sports", "cooking", "politics"]
    assert all(max(label.scores.values()) > 0.5 for label in found)


def test_the_starter_chat_model_knows_sports_from_cooking(starter_chat: Path) -> None:
    loaded = load(starter_chat)
    assert [label.label for label in ask(loaded, ["The match ended two to one."], labels="cooking, sports")] == [
        "sports"
    ]


@pytest.mark.parametrize("kind", ["writer", "encoder"])
def test_it_stops(kind: str, writer: LoadedModel, tiny_encoder: Path) -> None:
    loaded = writer if kind == "writer" else load(tiny_encoder)
    control = Control()
    rows = ({"text": text} for text in TEXTS * 10_000)
    outputs = ZERO_SHOT.predict(loaded, rows, JobContext(None, control), ZeroShotOptions(labels="a, b", batch_size=2))
    assert next(outputs).label in ("a", "b")
    control.cancel()
    with pytest.raises(Cancelled):
        list(outputs)


def test_what_cannot_be_asked_is_told(tiny_classifier: Path, writer: LoadedModel) -> None:
    with pytest.raises(UserError, match="There are 1 labels"):
        ask(writer, TEXTS, labels="sports, sports")
    with pytest.raises(UserError, match="has learned other labels"):
        ask(load(tiny_classifier), TEXTS, labels="sports, politics")
    for template in ("no place", "{} and {}"):
        with pytest.raises(UserError, match="single place") as caught:
            ZeroShotOptions(labels="a, b", template=template)
        assert "This text is about {}." in caught.value.remedy
    with pytest.raises(UserError, match="no text"):
        ask(writer, [None], labels="a, b")  # type: ignore[list-item]
    assert find_prediction("zero_shot") is ZERO_SHOT


def test_braces_in_labels_are_plain_characters(tiny_encoder: Path) -> None:
    (found,) = ask(load(tiny_encoder), ["film"], labels="{0}, {x}")
    assert set(found.scores) == {"{0}", "{x}"}
