"""Our beam search finds what transformers' own finds, whatever the settings, and tells it row by row."""

from __future__ import annotations

from typing import Any

import pytest

from lmstudio_app.errors import Cancelled
from lmstudio_app.jobs import Control, JobContext
from lmstudio_app.models.generation import DecodingOptions
from lmstudio_app.models.loading import LoadedModel, LoadRequest, load_model
from lmstudio_app.tasks.beam_search import _BLOCK, Search, _top
from lmstudio_app.tasks.writing import Hypothesis, Prompt, write_hypotheses
from tests.tiny_seq2seq import PAIRS, build_bart, build_marian, build_t5

SOURCES = [source for source, _ in PAIRS] + ["tea", "the cat sits on the mat and a dog runs in the park today"]
SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"early_stopping": True, "length_penalty": 2.0},
    {"early_stopping": "never", "length_penalty": 0.5},
    {"no_repeat_ngram_size": 2, "min_new_tokens": 5},
    {"num_beams": 2, "num_return_sequences": 2, "length_penalty": -1.0},
    {"num_beams": 6, "num_return_sequences": 4, "repetition_penalty": 1.3},
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LoadedModel]:
    folder = tmp_path_factory.mktemp("models")
    built = (build_marian(folder / "marian", spread=0.3), build_t5(folder / "t5"), build_bart(folder / "bart"))
    return {path.name: load_model(LoadRequest(str(path), device="cpu"), JobContext()) for path in built}


@pytest.mark.parametrize("family", ["marian", "t5", "bart"])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_texts_and_scores_are_those_of_transformers(
    family: str, settings: dict[str, Any], models: dict[str, LoadedModel]
) -> None:
    import torch

    loaded = models[family]
    arguments = {"num_beams": 4, "max_new_tokens": 12, **settings}
    inputs = loaded.tokenizer(SOURCES, return_tensors="pt", padding=True)
    inputs = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    theirs = loaded.model.generate(**inputs, **arguments, return_dict_in_generate=True, output_scores=True)
    search = Search(torch.full((len(SOURCES),), 12))
    loaded.model.generate(**inputs, **arguments, custom_generate=search)
    wanted = arguments.get("num_return_sequences", 1)
    penalty = arguments.get("length_penalty", 1.0)
    pad, end = loaded.model.config.pad_token_id, loaded.model.config.eos_token_id
    for row in range(len(SOURCES)):
        for place, beam in enumerate(search.found[row][:wanted]):
            ids = theirs.sequences[row * wanted + place].tolist()[1:]
            ends = ids.index(end) + 1 if end in ids else len(ids)
            assert beam.ids == ids[:ends]
            assert set(ids[ends:]) <= {pad, end}
            score = beam.log_probability / len(beam.ids) ** penalty
            assert score == pytest.approx(theirs.sequences_scores[row * wanted + place].item(), rel=1e-6, abs=1e-5)


def test_rows_are_told_when_they_are_done_and_have_their_own_limits(models: dict[str, LoadedModel]) -> None:
    loaded = models["marian"]
    prompts = [Prompt(ids) for ids in loaded.tokenizer(SOURCES)["input_ids"]]
    told: dict[int, list[Hypothesis]] = {}
    options = DecodingOptions(beams=3, max_new_tokens=40)
    found = write_hypotheses(
        loaded, prompts, JobContext(), options, longest_ratio=0.5, done=lambda row, items: told.update({row: items})
    )
    assert told == dict(enumerate(found))
    for prompt, hypotheses in zip(prompts, found, strict=True):
        assert hypotheses[0].tokens <= len(prompt.input_ids) // 2 + 10
    alone = [
        write_hypotheses(loaded, [prompt], JobContext(), options, longest_ratio=0.5)[0][0].text for prompt in prompts
    ]
    assert alone == [hypotheses[0].text for hypotheses in found]


@pytest.mark.parametrize("sample", [False, True])
def test_alternatives_are_different_sorted_and_scored(sample: bool, models: dict[str, LoadedModel]) -> None:
    import torch

    loaded = models["bart"]  # it is not made to end at the limit
    ids = loaded.tokenizer(SOURCES[0])["input_ids"]
    options = DecodingOptions(beams=2, max_new_tokens=8, sample=sample, temperature=1.5, seed=3)
    state = torch.random.get_rng_state()
    found = write_hypotheses(loaded, [Prompt(ids)], JobContext(), options, count=5)[0]
    assert torch.equal(torch.random.get_rng_state(), state)  # a training beside it draws from it
    assert found == write_hypotheses(loaded, [Prompt(ids)], JobContext(), options, count=5)[0]
    assert len({item.text for item in found}) == len(found) > 2
    assert [item.probability for item in found] == sorted((item.probability for item in found), reverse=True)
    if not sample:  # the same figures from one plain pass
        search = Search(torch.tensor([8]))
        loaded.model.generate(torch.tensor([ids]), num_beams=5, max_new_tokens=8, custom_generate=search)
        beam = search.found[0][0]
        decoder = torch.tensor([[loaded.model.config.decoder_start_token_id, *beam.ids[:-1]]])
        logits = loaded.model(input_ids=torch.tensor([ids]), decoder_input_ids=decoder).logits[0].log_softmax(-1)
        total = logits[range(len(beam.ids)), beam.ids].sum().item()
        assert beam.log_probability == pytest.approx(total, abs=1e-4)
        assert found[0].probability == pytest.approx(torch.tensor(total / len(beam.ids)).exp().item(), abs=1e-5)


def test_a_cancel_comes_through(models: dict[str, LoadedModel]) -> None:
    control = Control()
    prompts = [Prompt(ids) for ids in models["marian"].tokenizer(SOURCES)["input_ids"]]
    with pytest.raises(Cancelled):
        write_hypotheses(
            models["marian"],
            prompts,
            JobContext(control=control),
            DecodingOptions(beams=2, max_new_tokens=40),
            batch_size=2,
            done=lambda row, items: control.cancel(),
        )


def test_the_best_tokens_lie_in_the_best_blocks() -> None:
    import torch

    torch.manual_seed(0)
    for size in (5 * _BLOCK, 40 * _BLOCK, 40 * _BLOCK + 17):
        scores = torch.randn(7, size)
        scores[:, : size // 2] = -torch.inf
        expected = scores.topk(6)
        found = _top(scores, 6)
        assert torch.equal(found[0], expected.values)
        assert torch.equal(found[1], expected.indices)
