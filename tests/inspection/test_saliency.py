"""Integrated gradients on tiny models of several families, and the words that their pieces make."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.inspection.attribution_gradients import TOLERANCE
from lmstudio_app.inspection.saliency import SaliencyRequest, explain_label
from lmstudio_app.inspection.words import join_pieces
from lmstudio_app.jobs import Control, JobContext
from lmstudio_app.models.loading import LoadedModel, LoadRequest, load_model, quiet_transformers
from tests.conftest import build_tiny_tokenizer

TEXT = "The film was not very good, but i loved the acting!"
BERT_SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
SPECIALS = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
FAMILIES: dict[str, dict[str, Any]] = {
    "Bert": BERT_SIZES,
    "DistilBert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64},
    "Roberta": {**BERT_SIZES, **SPECIALS, "max_position_embeddings": 130},
    "GPT2": {**SPECIALS, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128},
}


@pytest.fixture(scope="module")
def get_classifier(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., LoadedModel]:
    """``get_classifier(family, labels)``: a tiny model with weights large enough for its judgements to differ."""
    import torch
    import transformers

    made: dict[Any, LoadedModel] = {}

    def _get(family: str, labels: tuple[str, ...] = ("negative", "positive"), **options: Any) -> LoadedModel:
        key = (family, labels, json.dumps(options))
        if key not in made:
            folder = tmp_path_factory.mktemp("saliency") / family
            tokenizer = build_tiny_tokenizer()
            config = getattr(transformers, f"{family}Config")(
                vocab_size=len(tokenizer), id2label=dict(enumerate(labels)), **FAMILIES[family], **options
            )
            with torch.random.fork_rng(), quiet_transformers():
                torch.manual_seed(3)
                model = getattr(transformers, f"{family}ForSequenceClassification")(config)
                for parameter in model.parameters():
                    if parameter.dim() > 1:
                        torch.nn.init.normal_(parameter, std=0.3)
                model.save_pretrained(folder)
                tokenizer.save_pretrained(folder)
            made[key] = load_model(LoadRequest(str(folder), device="cpu", precision="float32"), JobContext())
        return made[key]

    return _get


def log_odds(loaded: LoadedModel, text: str, label: str) -> float:
    """log p / (1 - p) of a label, of token ids and not of embeddings."""
    import torch

    with torch.inference_mode():
        ids = loaded.tokenizer(text, return_tensors="pt")["input_ids"]
        share = loaded.model(input_ids=ids).logits.double().softmax(-1)[0, loaded.labels.index(label)]
    return float(torch.logit(share))


@pytest.mark.parametrize("labels", [("negative", "positive"), ("bad", "so-so", "good")])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_words_sum_to_the_difference(
    get_classifier: Callable[..., LoadedModel], family: str, labels: tuple[str, ...]
) -> None:
    loaded = get_classifier(family, labels)
    differences = []
    for label in labels:
        found = explain_label(loaded, SaliencyRequest(TEXT, label), JobContext())
        assert found.label == label
        assert found.log_odds == pytest.approx(log_odds(loaded, TEXT, label), abs=1e-3)
        difference = found.log_odds - found.baseline
        differences.append(abs(difference))
        total = sum(word.score for word in found.words)
        assert total == pytest.approx(difference, abs=max(0.011, 1.1 * TOLERANCE * abs(difference)))
        assert found.error == pytest.approx(total - difference, abs=1e-4)
    assert max(differences) > 0.1
    assert [word.text for word in found.words] == [
        "The", "film", "was", "not", "very", "good", ",", "but", "i", "loved", "the", "acting", "!",
    ]  # fmt: skip
    assert all(TEXT[word.start : word.end] == word.text for word in found.words)
    assert len({round(word.score, 6) for word in found.words}) > 6


def test_the_baseline_is_the_text_with_every_word_masked(get_classifier: Callable[..., LoadedModel]) -> None:
    import torch

    loaded = get_classifier("Bert")
    found = explain_label(loaded, SaliencyRequest("good film", "positive"), JobContext())
    ids = loaded.tokenizer("[MASK] [MASK]", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        masked = loaded.model(input_ids=ids).logits.double().softmax(-1)[0, 1]
    assert found.baseline == pytest.approx(float(torch.logit(masked)), abs=1e-4)


def test_two_labels_are_each_others_opposite(get_classifier: Callable[..., LoadedModel]) -> None:
    loaded = get_classifier("Bert")
    one, other = (explain_label(loaded, SaliencyRequest(TEXT, label), JobContext()) for label in loaded.labels)
    assert [word.score for word in one.words] == pytest.approx([-word.score for word in other.words], abs=1e-4)
    chosen = explain_label(loaded, SaliencyRequest(TEXT), JobContext())
    assert chosen.label == loaded.labels[0 if one.log_odds > 0 else 1]


def test_several_labels_at_once_are_explained_by_their_own_logits(get_classifier: Callable[..., LoadedModel]) -> None:
    import torch

    loaded = get_classifier("Bert", ("a", "b", "c"), problem_type="multi_label_classification")
    found = explain_label(loaded, SaliencyRequest(TEXT, "b"), JobContext())
    with torch.inference_mode():
        logits = loaded.model(input_ids=loaded.tokenizer(TEXT, return_tensors="pt")["input_ids"]).logits[0]
    assert found.log_odds == pytest.approx(float(logits[1]), abs=1e-4)
    assert sum(word.score for word in found.words) == pytest.approx(found.log_odds - found.baseline, abs=0.02)


def test_weights_keep_their_gradients_and_others_their_passes(get_classifier: Callable[..., LoadedModel]) -> None:
    """Another thread trains the very model meanwhile: nothing is added to its gradients, no check reaches it."""
    import torch

    loaded = get_classifier("DistilBert")
    assert all(parameter.grad is None for parameter in loaded.model.parameters())
    ids = loaded.tokenizer(TEXT, return_tensors="pt")["input_ids"]
    grads: list[list[Any]] = []
    stop = threading.Event()

    def _train() -> None:
        while not stop.is_set():
            loaded.model.zero_grad()
            loaded.model(input_ids=ids).logits[0, 1].backward()
            grads.append([p.grad.clone() for p in loaded.model.parameters() if p.grad is not None])

    thread = threading.Thread(target=_train)
    thread.start()
    try:
        for _ in range(5):
            assert explain_label(loaded, SaliencyRequest(TEXT), JobContext()).words
        control = Control()
        control.cancel()
        with pytest.raises(Cancelled):
            explain_label(loaded, SaliencyRequest(TEXT), JobContext(None, control))
    finally:
        stop.set()
        thread.join()
    loaded.model.zero_grad()
    assert len(grads) > 1
    assert all(len(grad) == len(grads[0]) for grad in grads)
    for grad in grads[1:]:
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(grad, grads[0], strict=True))
    assert not loaded.model.training


def test_it_stops_in_the_middle_of_a_long_text(get_classifier: Callable[..., LoadedModel]) -> None:
    loaded = get_classifier("Bert")
    control = Control()
    asked: list[float] = []
    ended: list[float] = []

    class _Context(JobContext):
        def check(self) -> None:
            asked.append(time.monotonic())
            super().check()

    def _run() -> None:
        try:
            while True:
                explain_label(loaded, SaliencyRequest(TEXT * 20), _Context(None, control))
        except Cancelled:
            ended.append(time.monotonic())

    thread = threading.Thread(target=_run)
    thread.start()
    time.sleep(0.3)
    begun = time.monotonic()
    control.cancel()
    thread.join(10)
    assert ended
    assert ended[0] - begun < 0.2
    assert len(asked) > 10


def test_a_text_that_is_too_long_is_read_as_far_as_it_goes(get_classifier: Callable[..., LoadedModel]) -> None:
    loaded = get_classifier("Bert")
    text = "good film " * 100
    found = explain_label(loaded, SaliencyRequest(text), JobContext())
    assert len(found.words) == 126  # and the two special tokens
    assert found.read == found.words[-1].end < len(text)
    assert explain_label(loaded, SaliencyRequest("good film  "), JobContext()).read == len("good film  ")


def test_no_words_no_scores(get_classifier: Callable[..., LoadedModel]) -> None:
    found = explain_label(get_classifier("Bert"), SaliencyRequest("  "), JobContext())
    assert found.words == ()
    assert found.log_odds == found.baseline


def test_what_cannot_be_explained_is_told(
    get_classifier: Callable[..., LoadedModel], tiny_encoder: Path, tmp_path: Path
) -> None:
    import transformers

    with pytest.raises(UserError, match="none of the model's labels: negative, positive"):
        explain_label(get_classifier("Bert"), SaliencyRequest("x", "angry"), JobContext())
    encoder = load_model(LoadRequest(str(tiny_encoder), device="cpu"), JobContext())
    with pytest.raises(UserError, match="chooses no labels"):
        explain_label(encoder, SaliencyRequest("x"), JobContext())
    tokenizer = build_tiny_tokenizer()
    config = transformers.BartConfig(
        vocab_size=len(tokenizer), d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=64,
        pad_token_id=0, bos_token_id=2, eos_token_id=3, decoder_start_token_id=2, forced_eos_token_id=None,
    )  # fmt: skip
    with quiet_transformers():
        transformers.BartForSequenceClassification(config).save_pretrained(tmp_path)
        tokenizer.save_pretrained(tmp_path)
    bart = load_model(LoadRequest(str(tmp_path), device="cpu", precision="float32"), JobContext())
    with pytest.raises(UserError, match="cannot be traced to words"):
        explain_label(bart, SaliencyRequest("good film"), JobContext())


@pytest.mark.parametrize(
    ("text", "spans", "words"),
    [
        ("unlike you", [(0, 2), (2, 6), (7, 10)], ["unlike", "you"]),  # pieces of a word
        ("a b", [(0, 1), (1, 3)], ["a", "b"]),  # byte-level pieces begin with the space
        ("don't", [(0, 3), (3, 4), (4, 5)], ["don't"]),
        ("'so' it", [(0, 1), (1, 3), (3, 4), (5, 7)], ["'", "so", "'", "it"]),
        ("good!!", [(0, 4), (4, 5), (5, 6)], ["good", "!", "!"]),
        ("很感人", [(0, 1), (1, 2), (2, 3)], ["很", "感", "人"]),
        ("A片", [(0, 1), (1, 2)], ["A", "片"]),
        ("é!", [None, (0, 1), (0, 1), (1, 2), None], ["é", "!"]),  # two bytes of a character
        ("a  b", [(0, 1), (1, 3), (3, 4)], ["a", "b"]),  # a piece of white space
        (" x", [(0, 1), (1, 2)], ["x"]),
        ("हिन्दी", [(0, 2), (2, 6)], ["हिन्दी"]),
        ("", [None, None], []),
    ],
)
def test_pieces_become_words(text: str, spans: list[Any], words: list[str]) -> None:
    found = join_pieces(text, spans)
    assert [text[word.start : word.end] for word in found] == words
    indices = [index for word in found for index in word.pieces]
    assert indices == [index for index, span in enumerate(spans) if span is not None]
