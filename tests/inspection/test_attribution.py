"""What an answer owes to each token: every kind of model, and each method against the formula of its paper."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.inspection.attribution import ATTENTION, GRADIENT, INTEGRATED, AttributionRequest, attribute
from lmstudio_app.inspection.attribution_function import EmbeddedModel
from lmstudio_app.inspection.attribution_gradients import TOLERANCE
from lmstudio_app.inspection.attribution_inputs import InputText
from lmstudio_app.jobs import Control, JobContext
from lmstudio_app.models.loading import LoadedModel
from tests.inspection.conftest import FAMILIES, Heard

TEXT = "the film was not very good"
BODIES = ("bert", "roberta", "distilbert", "albert", "electra")
DECODERS = ("gpt2", "llama", "qwen3", "gemma2")
WRITERS = ("t5", "bart", "marian")


def explain(loaded: LoadedModel, text: str = TEXT, **options: Any) -> Any:
    given = {name: options.pop(name) for name in ("pair", "target", "messages") if name in options}
    return attribute(loaded, AttributionRequest(InputText(text, **given), **options), JobContext())


def check_sum(found: Any) -> None:
    difference = found.value - found.baseline
    assert found.scores[INTEGRATED].sum() == pytest.approx(
        difference, abs=max(0.011, 1.1 * TOLERANCE * abs(difference))
    )
    assert found.error == pytest.approx(found.scores[INTEGRATED].sum() - difference, abs=1e-4)


@pytest.mark.parametrize("family", BODIES)
@pytest.mark.parametrize("head", ["ForSequenceClassification", "ForMaskedLM"])
def test_encoders(make_headed: Callable[..., LoadedModel], family: str, head: str) -> None:
    import torch

    loaded = make_headed(family, head)
    found = explain(loaded)
    check_sum(found)
    assert all(len(scores) == len(found.tokens) == 8 for scores in found.scores.values())
    assert all(np.ptp(scores) > 0 for scores in found.scores.values())
    assert (found.scores[ATTENTION] >= 0).all()
    assert found.scores[INTEGRATED][[0, -1]] == pytest.approx([0, 0])  # special tokens are in the baseline, too
    ids = loaded.tokenizer(TEXT, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        if head == "ForMaskedLM":
            ids[0, 6] = loaded.tokenizer.mask_token_id
            share = loaded.model(ids).logits[0, 6].softmax(-1)[loaded.tokenizer.convert_tokens_to_ids("good")]
            assert (found.kind, found.answer, found.explained) == ("word", "good", 6)
            assert found.choosable == (False, *[True] * 6, False)
        else:
            share = loaded.model(ids).logits[0].softmax(-1).max()
            assert (found.kind, found.explained, found.answer) == ("label", None, found.candidates[0][0])
    assert found.probability == pytest.approx(float(share), abs=1e-5)
    assert found.value == pytest.approx(float(torch.logit(share.double())), abs=1e-3)


@pytest.mark.parametrize("family", DECODERS)
def test_decoders(make_headed: Callable[..., LoadedModel], family: str) -> None:
    import torch

    loaded = make_headed(family, "ForCausalLM")
    found = explain(loaded)
    check_sum(found)
    ids = loaded.tokenizer(TEXT, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        shares = loaded.model(ids).logits[0].double().softmax(-1)
    assert (found.kind, found.explained, found.seen) == ("next", None, ids.shape[1])
    assert found.probability == pytest.approx(float(shares[-1].max()), abs=1e-5)
    assert found.candidates[0] == (found.answer, pytest.approx(found.probability))
    earlier = explain(loaded, position=3)
    check_sum(earlier)
    assert (earlier.kind, earlier.answer, earlier.explained, earlier.seen) == ("word", "was", 3, 3)
    assert earlier.probability == pytest.approx(float(shares[2, ids[0, 3]]), abs=1e-5)
    assert all((scores[3:] == 0).all() and np.ptp(scores[:3]) > 0 for scores in earlier.scores.values())
    assert explain(loaded, position=3, answer="film").probability == pytest.approx(
        float(shares[2, loaded.tokenizer.convert_tokens_to_ids("film")]), abs=1e-5
    )


@pytest.mark.parametrize("family", WRITERS)
def test_encoder_decoders(make_headed: Callable[..., LoadedModel], family: str) -> None:
    import torch

    loaded = make_headed(family, "")
    found = explain(loaded, target="a good movie", position=8 + 3)
    check_sum(found)
    ids = loaded.tokenizer(TEXT, return_tensors="pt")["input_ids"]
    target = loaded.tokenizer("a good movie", return_tensors="pt")["input_ids"][0]
    start = loaded.model.config.decoder_start_token_id
    fed = torch.tensor([[start, *target[:2].tolist()]])
    with torch.no_grad():
        share = loaded.model(input_ids=ids, decoder_input_ids=fed).logits[0, -1].double().softmax(-1)[target[2]]
    assert found.answer == "good"
    assert found.probability == pytest.approx(float(share), abs=1e-5)
    assert (found.explained, found.seen) == (11, 11)
    for scores in found.scores.values():
        assert np.ptp(scores[:8]) > 0  # of the source
        assert np.ptp(scores[8:11]) > 0  # of what was written before
        assert (scores[11:] == 0).all()
    written = explain(loaded, methods=(GRADIENT,))
    assert written.explained == 9
    assert len(written.tokens) > 9


def test_question_answering(make_headed: Callable[..., LoadedModel]) -> None:
    loaded = make_headed("bert", "ForQuestionAnswering")
    found = explain(loaded, "was it good", pair="the film was great")
    check_sum(found)
    assert (found.kind, found.unit) == ("span", "log-probability")
    assert found.answer in "the film was great"
    assert found.probability == pytest.approx(np.exp(found.value), rel=1e-3)
    with pytest.raises(UserError, match="question alone"):
        explain(loaded)


def test_labels_of_tokens(make_headed: Callable[..., LoadedModel]) -> None:
    found = explain(make_headed("bert", "ForTokenClassification"), position=2)
    check_sum(found)
    assert (found.kind, found.explained) == ("label", 2)


def test_two_texts_of_an_encoder_without_a_head(make_headed: Callable[..., LoadedModel]) -> None:
    loaded = make_headed("bert", "Model")
    found = explain(loaded, pair="a very good movie")
    from lmstudio_app.tasks.embedding import Embedder

    one, other = Embedder(loaded).embed([TEXT, "a very good movie"], JobContext())
    assert (found.kind, found.unit, found.probability) == ("similarity", "cosine", None)
    assert found.value == pytest.approx(float(one @ other), abs=1e-5)
    assert found.scores[INTEGRATED].sum() == pytest.approx(found.value - found.baseline, abs=0.02)
    assert len(found.tokens) == 8
    with pytest.raises(UserError, match="vector alone") as error:
        explain(loaded)
    assert "second text" in str(error.value.remedy)


def test_a_gap_and_the_word_that_is_asked_about(make_headed: Callable[..., LoadedModel]) -> None:
    loaded = make_headed("bert", "ForMaskedLM")
    found = explain(loaded, "the [MASK] was good", methods=(GRADIENT,))
    assert found.explained == 2
    assert found.answer == found.candidates[0][0]
    asked = explain(loaded, "the [MASK] was good", methods=(GRADIENT,), answer="movie")
    assert asked.answer == "movie"
    assert asked.probability < found.probability
    with pytest.raises(UserError, match="no single token"):
        explain(loaded, "the [MASK] was good", answer="moviefilm")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"answer": "angry"}, "none of the model's labels"),
        ({"position": 99}, "no token 99"),
        ({"methods": ("guess",)}, "no method guess"),
        ({"text": " "}, "no text"),
    ],
)
def test_what_there_is_not(make_headed: Callable[..., LoadedModel], options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        explain(make_headed("bert", "ForSequenceClassification"), **options)


def test_nothing_stands_before_the_first_token(make_headed: Callable[..., LoadedModel]) -> None:
    with pytest.raises(UserError, match="stands before it"):
        explain(make_headed("gpt2", "ForCausalLM"), position=0)
    with pytest.raises(UserError, match="no answer that could be explained"):
        explain(make_headed("gpt2", "Model"))


# --- the formulas


def test_integrated_gradients_are_the_integral(make_headed: Callable[..., LoadedModel]) -> None:
    """Against a midpoint sum of plain autograd over ``inputs_embeds``."""
    import torch

    loaded = make_headed("bert", "ForSequenceClassification")
    found = explain(loaded, answer="positive", methods=(INTEGRATED, GRADIENT))
    ids = loaded.tokenizer(TEXT, return_tensors="pt")["input_ids"]
    words = loaded.model.get_input_embeddings()
    masked = ids.clone()
    masked[0, 1:-1] = loaded.tokenizer.mask_token_id
    text, base = words(ids).detach(), words(masked).detach()

    def slopes(point: Any) -> Any:
        point = point.detach().requires_grad_()
        logits = loaded.model(inputs_embeds=point).logits[0]
        return torch.autograd.grad(logits[1] - logits[0], point)[0]

    mean = sum(slopes(base + (step + 0.5) / 300 * (text - base)) for step in range(300)) / 300
    expected = ((text - base) * mean).sum(-1)[0].numpy()
    assert found.scores[INTEGRATED] == pytest.approx(expected, abs=0.02)
    assert found.scores[GRADIENT] == pytest.approx((text * slopes(text)).sum(-1)[0].numpy(), abs=1e-4)


def test_attention_times_gradient_is_the_papers(make_headed: Callable[..., LoadedModel]) -> None:
    """Chefer et al. (2021), equations 5 and 6, in loops, for the first token's row."""
    loaded = make_headed("bert", "ForSequenceClassification")
    found = explain(loaded, answer="positive", methods=(ATTENTION,))
    model = loaded.model
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    output = model(loaded.tokenizer(TEXT, return_tensors="pt")["input_ids"], output_attentions=True)
    for weights in output.attentions:
        weights.retain_grad()
    (output.logits[0, 1] - output.logits[0, 0]).backward()
    model.set_attn_implementation(before)
    count = len(found.tokens)
    relevance = np.eye(count)
    for weights in output.attentions:
        heads = weights.shape[1]
        mean = np.zeros((count, count))
        for head in range(heads):
            for query in range(count):
                for key in range(count):
                    product = (weights * weights.grad)[0, head, query, key].item()
                    mean[query, key] += max(product, 0) / heads
        relevance = relevance + mean @ relevance
    model.zero_grad()
    assert found.scores[ATTENTION] == pytest.approx((relevance - np.eye(count))[0], abs=1e-5)
    assert model.config._attn_implementation == before


def test_two_streams_are_the_papers(make_headed: Callable[..., LoadedModel]) -> None:
    """Equations 5 to 10 for an encoder-decoder, where the last token of the target is read."""
    import torch

    loaded = make_headed("bart", "")
    found = explain(loaded, target="a good movie", position=11, methods=(ATTENTION,))
    model, tokenizer = loaded.model, loaded.tokenizer
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    target = tokenizer("a good movie")["input_ids"]
    fed = torch.tensor([[model.config.decoder_start_token_id, *target[:2]]])
    output = model(
        input_ids=tokenizer(TEXT, return_tensors="pt")["input_ids"], decoder_input_ids=fed, output_attentions=True
    )
    parts = (output.encoder_attentions, output.cross_attentions, output.decoder_attentions)
    for weights in (item for part in parts for item in part):
        weights.retain_grad()
    logits = output.logits[0, -1]
    others = torch.cat([logits[: target[2]], logits[target[2] + 1 :]])
    (logits[target[2]] - others.logsumexp(0)).backward()
    model.set_attn_implementation(before)
    encoder, cross, decoder = (
        [(item * item.grad).clamp(min=0).mean(1)[0].detach().double().numpy() for item in part] for part in parts
    )
    model.zero_grad()
    source, written = np.eye(8), np.eye(3)
    for mean in encoder:
        source += mean @ source
    drawn = np.zeros((3, 8))

    def bar(relevance: Any) -> Any:
        rest = relevance - np.eye(len(relevance))
        sums = rest.sum(1, keepdims=True)
        return np.divide(rest, sums, out=np.zeros_like(rest), where=sums > 0) + np.eye(len(relevance))

    for own, across in zip(decoder, cross, strict=True):
        drawn = drawn + own @ drawn
        written = written + own @ written
        drawn = drawn + bar(written).T @ across @ bar(source)
    expected = np.concatenate([drawn[-1], (written - np.eye(3))[-1]])
    assert found.scores[ATTENTION][:11] == pytest.approx(expected, abs=1e-5)


# --- manners


@pytest.mark.parametrize("family", ["bart", "marian", "t5", "gemma2"])
def test_embeddings_in_the_place_of_tokens_change_nothing(make_headed: Callable[..., LoadedModel], family: str) -> None:
    import torch

    loaded = make_headed(family, "ForCausalLM" if family == "gemma2" else "")
    inputs = {"input_ids": loaded.tokenizer(TEXT, return_tensors="pt")["input_ids"]}
    if family != "gemma2":
        inputs["decoder_input_ids"] = torch.tensor([[0, 50, 51]])
    function = EmbeddedModel(loaded.model, inputs, lambda output: output.logits[:, -1].amax(-1))
    with torch.no_grad(), function.open():
        ours = function.run(function.embedded).logits
        half = function.run(function.embedded / 2).logits
    with torch.no_grad():
        own = loaded.model(**inputs).logits
    assert torch.allclose(ours, own, atol=1e-5)
    assert not torch.allclose(half, own, atol=1e-3)


def test_a_chat_is_laid_out_by_the_template(make_headed: Callable[..., LoadedModel]) -> None:
    loaded = make_headed("gpt2", "ForCausalLM")
    loaded.tokenizer.chat_template = "{% for m in messages %}{{ m.role }} : {{ m.content }} {% endfor %}bot :"
    try:
        found = explain(loaded, "", messages=({"role": "user", "content": "good film"},), methods=(GRADIENT,))
    finally:
        loaded.tokenizer.chat_template = None
    assert "".join(found.tokens.labels).replace("##", "") == "user:goodfilmbot:"  # as the chat sends it


def test_it_stops_within_a_moment(make_headed: Callable[..., LoadedModel]) -> None:
    loaded = make_headed("bert", "ForSequenceClassification")
    control, ended = Control(), []

    def _run() -> None:
        try:
            while True:
                attribute(loaded, AttributionRequest(InputText(TEXT * 15)), JobContext(None, control))
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
    assert all(parameter.grad is None for parameter in loaded.model.parameters())


def test_a_long_text_is_cut_with_a_warning(make_headed: Callable[..., LoadedModel], heard: Heard) -> None:
    loaded = make_headed("bert", "ForSequenceClassification")
    found = attribute(loaded, AttributionRequest(InputText("good " * 400), (GRADIENT,)), heard.ctx)
    assert found.dropped > 0
    assert "too long" in heard.warnings[0]


def test_every_family_is_there() -> None:
    assert set(BODIES + DECODERS + WRITERS) <= set(FAMILIES)


def test_row_for_json(make_headed: Callable[..., LoadedModel], tmp_path: Path) -> None:
    row = explain(make_headed("bert", "ForSequenceClassification")).to_row()
    assert row["unit"] == "log-odds"
    assert len(row["tokens"]) == len(row["scores"][INTEGRATED]) == 8
