"""Translation, end to end on tiny models: what is learned by heart comes out again, and the figures are right."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmstudio_app.errors import UserError
from lmstudio_app.events import Evaluated, StepLogged
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.languages import declared_languages
from lmstudio_app.models.loading import LoadedModel, LoadRequest, load_model
from lmstudio_app.tasks.seq2seq import collate, smoothed_loss
from lmstudio_app.tasks.task import IGNORED, Setup, count_labels
from lmstudio_app.tasks.translation import (
    TRANSLATION,
    TranslateOptions,
    TranslationOptions,
    encode,
    special_tokens,
    translate,
)
from lmstudio_app.training.loop import TrainRequest, TrainResult, train
from lmstudio_app.training.recipe import Recipe
from tests.tiny_seq2seq import CHINESE, PAIRS, build_bart, build_m2m100, build_marian, build_t5, write_pairs

BUILDERS = {"marian": build_marian, "t5": build_t5, "bart": build_bart}


def load(folder: Path) -> LoadedModel:
    return load_model(LoadRequest(str(folder), device="cpu"), JobContext())


def learn(
    folder: Path, model: Path, pairs: Sequence[tuple[str, ...]], names: Sequence[str], epochs: int, **options: Any
) -> tuple[TrainResult, list[Any]]:
    """Train on ``pairs`` and evaluate on them too."""
    data = write_pairs(folder / "pairs.jsonl", pairs, names)
    recipe = {
        "task": "translation",
        "model": str(model),
        "data": {"train": str(data), "eval": str(data)},
        "options": options,
        "training": {
            "epochs": epochs, "batch_size": 16, "learning_rate": 5e-3, "max_length": 48, "evaluate_every": 9999,
            "checkpoint_every": 9999,
            "device": "cpu", "precision": "float32", "log_every": 1,
        },
    }  # fmt: skip
    events: list[Any] = []
    result = train(TrainRequest(Recipe.from_dict(recipe), folder / "run"), JobContext(events.append))
    return result, events


def say(folder: Path, texts: Sequence[str], **options: Any) -> list[str]:
    rows = [{"text": text} for text in texts]
    return [output.text for output in translate(load(folder), rows, JobContext(), TranslateOptions(**options))]


@pytest.mark.parametrize(("family", "epochs"), [("marian", 120), ("t5", 160), ("bart", 80)])
def test_pairs_learned_by_heart_come_out_again(family: str, epochs: int, tmp_path: Path) -> None:
    model = BUILDERS[family](tmp_path / family)
    result, events = learn(tmp_path, model, PAIRS, ("en", "de"), epochs)
    losses = [event.loss for event in events if isinstance(event, StepLogged)]
    assert losses[-1] < 0.1 * losses[0]
    assert say(result.model_folder, [source for source, _ in PAIRS]) == [target for _, target in PAIRS]
    evaluated = next(event for event in events if isinstance(event, Evaluated))
    assert result.metrics["perplexity"] == pytest.approx(math.exp(result.metrics["loss"]))
    assert result.metrics["chrf"] == pytest.approx(100)
    assert {"input": PAIRS[0][0], "reference": PAIRS[0][1], "output": PAIRS[0][1]} in evaluated.details["samples"]


def test_one_model_into_two_languages_told_apart_by_a_token(tmp_path: Path) -> None:
    model = build_marian(tmp_path / "marian", tokens=(">>deu<<", ">>zho<<"))
    pairs = [(*pair, "de") for pair in PAIRS[:4]] + [(*pair, "zh") for pair in CHINESE]
    result, _ = learn(tmp_path, model, pairs, ("source", "target", "language"), 150, label_smoothing=0.1)
    sources = [source for source, _ in CHINESE]
    assert say(result.model_folder, sources, target_language="zh") == [target for _, target in CHINESE]
    assert say(result.model_folder, sources, target_language="de") == [target for _, target in PAIRS[:4]]
    for kind in ("bleu", "chrf"):
        each = (result.metrics[f"{kind}_de"], result.metrics[f"{kind}_zh"])
        assert result.metrics[kind] == pytest.approx(sum(each) / 2)
        assert min(each) > 90
    with pytest.raises(UserError, match="several languages: de, zh"):
        say(result.model_folder, sources)
    with pytest.raises(UserError, match="does not know the language fr"):
        say(result.model_folder, sources, target_language="fr")
    rows = [{"text": sources[0], "language": "zh"}, {"text": "  "}, {"text": sources[0], "language": "de"}]
    mixed = translate(load(result.model_folder), rows, JobContext(), TranslateOptions(target_language="de"))
    assert [output.text for output in mixed] == [CHINESE[0][1], "", PAIRS[0][1]]


def test_a_trained_model_knows_its_direction(tmp_path: Path) -> None:
    model = build_marian(tmp_path / "marian", tokens=(">>deu<<", ">>zho<<"))
    result, _ = learn(tmp_path, model, PAIRS, ("en", "de"), 120, target_language="de")
    assert say(result.model_folder, [PAIRS[0][0]]) == [PAIRS[0][1]]


def setup_for(folder: Path, **options: Any) -> tuple[LoadedModel, Setup]:
    loaded = load(folder)
    return loaded, Setup(loaded.tokenizer, (), 48, TranslationOptions(**options), loaded.model.config)


def batch_of(setup: Setup, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    encoded = encode({"source": [pair[0] for pair in pairs], "target": [pair[1] for pair in pairs]}, setup)
    rows = [{name: values[row] for name, values in encoded.items()} for row in range(len(pairs))]
    return collate(rows, setup, np.random.default_rng(0))


@pytest.mark.parametrize("build", [build_marian, build_t5, build_bart, build_m2m100])
def test_the_loss_is_the_models_own_and_with_smoothing_torchs(
    build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    languages = {"source_language": "en", "target_language": "de"} if build is build_m2m100 else {}
    loaded, setup = setup_for(build(tmp_path / "model"), **languages)
    monkeypatch.setattr("lmstudio_app.tasks.cross_entropy._CHUNK", 1000)  # so that there are several
    batch = batch_of(setup, PAIRS)
    assert (batch["labels"] == IGNORED).any()  # targets of several lengths
    plain = loaded.model(**batch)
    labels = batch["labels"].flatten()
    assert count_labels(batch) == int((labels != IGNORED).sum())
    _, smooth = setup_for(tmp_path / "model", label_smoothing=0.2, **languages)
    smoothed = torch.nn.functional.cross_entropy(
        plain.logits.flatten(0, 1), labels, ignore_index=IGNORED, label_smoothing=0.2
    )
    for expected, inputs in ((plain.loss, batch), (smoothed, batch_of(smooth, PAIRS))):
        loss = smoothed_loss(loaded.model, inputs)
        assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
        gradients = []
        for value in (3 * expected, 3 * loss):
            loaded.model.zero_grad()
            value.backward(retain_graph=True)
            gradients.append([p.grad.clone() for p in loaded.model.parameters() if p.requires_grad])
        for theirs, ours in zip(*gradients, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_targets_go_through_the_tokenizers_target_side(tmp_path: Path) -> None:
    loaded, setup = setup_for(build_marian(tmp_path / "marian", two_sides=True))
    encoded = encode({"source": ["good morning"], "target": ["good morning"]}, setup)
    characters = loaded.tokenizer.convert_ids_to_tokens(encoded["labels"][0])
    assert characters == ["▁", *"good", "▁", *"morning", "</s>"]
    assert len(encoded["input_ids"][0]) < len(characters)


def test_long_targets_are_cut_and_told(tmp_path: Path) -> None:
    _, setup = setup_for(build_t5(tmp_path / "t5"), max_target_length=4)
    encoded = encode({"source": ["a", "b"], "target": [PAIRS[0][1], PAIRS[5][1]]}, setup)
    assert [len(ids) for ids in encoded["labels"]] == [4, 3]
    assert encoded["labels"][0][-1] == setup.tokenizer.eos_token_id
    assert sum(setup.notes.values()) == 1


def test_many_languages_begin_the_decoder(tmp_path: Path) -> None:
    loaded, setup = setup_for(build_m2m100(tmp_path / "m2m"), source_language="en", target_language="de")
    tokenizer = loaded.tokenizer
    rows = {"source": ["good morning"] * 2, "target": ["guten Morgen"] * 2, "language": ["", "fr"]}
    encoded = encode(rows, setup)
    begins = [tokenizer.convert_ids_to_tokens(ids[:1])[0] for ids in encoded["labels"]]
    assert begins == ["__de__", "__fr__"]
    assert tokenizer.convert_ids_to_tokens(encoded["input_ids"][0][:1]) == ["__en__"]
    texts = [{"text": source} for source, _ in PAIRS]
    options = TranslateOptions(source_language="en", target_language="fr", beams=2, max_new_tokens=12)
    ours = [output.text for output in translate(loaded, texts, JobContext(), options)]
    tokenizer.src_lang = "en"
    for row, text in zip(texts, ours, strict=True):
        inputs = tokenizer(row["text"], return_tensors="pt")
        # the start counts among transformers' new tokens, and so does the language
        ids = loaded.model.generate(
            **inputs, num_beams=2, max_new_tokens=13, forced_bos_token_id=tokenizer.get_lang_id("fr")
        )
        # the language is what the decoder is made to begin with, and no part of the text
        assert text == tokenizer.decode(ids[0], skip_special_tokens=True).strip().removeprefix("__fr__")
    with pytest.raises(UserError, match="between many languages"):
        list(translate(loaded, texts, JobContext(), TranslateOptions(target_language="de")))


def test_languages_are_asked_of_the_vocabulary(tmp_path: Path) -> None:
    from transformers import MBart50Tokenizer, NllbTokenizer

    nllb = declared_languages(NllbTokenizer())
    assert {code: nllb.tokens[code] for code in ("de", "zh", "ar", "sw", "en")} == {
        "de": "deu_Latn", "zh": "zho_Hans", "ar": "arb_Arab", "sw": "swh_Latn", "en": "eng_Latn",
    }  # fmt: skip
    assert not nllb.in_source
    assert declared_languages(MBart50Tokenizer()).tokens["de"] == "de_DE"
    tokens = (">>cmn_Hant<<", ">>cmn_Hans<<", ">>deu<<", ">>xyz<<")
    marian = declared_languages(load(build_marian(tmp_path / "marian", tokens=tokens)).tokenizer)
    assert marian.tokens == {"zh": ">>cmn_Hans<<", "de": ">>deu<<"}
    assert marian.in_source
    assert not declared_languages(load(build_t5(tmp_path / "t5")).tokenizer).tokens
    with pytest.raises(UserError, match="deu is no language code") as raised:
        TranslationOptions(target_language="deu")
    assert "(deu is de)" in raised.value.remedy


def test_a_new_vocabulary_gets_the_tokens_of_the_datas_languages() -> None:
    from datasets import Dataset

    mixed = Dataset.from_dict({"source": ["a", "b", "c"], "target": ["d", "e", "f"], "language": ["zh", "de", "zh"]})
    assert special_tokens(mixed, TranslationOptions()) == (">>deu<<", ">>zho<<")
    plain = mixed.remove_columns("language")
    assert special_tokens(plain, TranslationOptions(target_language="fr")) == (">>fra<<",)
    assert special_tokens(plain, TranslationOptions(target_language="fr", language_token=False)) == ()
    assert TRANSLATION.special_tokens is special_tokens


def test_from_scratch_with_a_token_for_each_language(tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "pairs.jsonl", PAIRS * 4, ("en", "de"))
    recipe = Recipe.from_dict(
        {
            "task": "translation",
            "architecture": {
                "family": "marian", "layers": 1, "heads": 4, "hidden_size": 32, "max_length": 64, "dropout": 0.0,
                "tokenizer": {"kind": "unigram", "vocabulary": 110, "lowercase": False},
            },
            "data": {"train": str(data), "eval": str(data), "deduplicate": False},
            "options": {"source_language": "en", "target_language": "de"},
            "training": {"epochs": 120, "batch_size": 24, "learning_rate": 1e-2, "device": "cpu",
                         "evaluate_every": 999, "checkpoint_every": 999},
        }
    )  # fmt: skip
    result = train(TrainRequest(recipe, tmp_path / "run"), JobContext())
    assert declared_languages(load(result.model_folder).tokenizer).tokens == {"de": ">>deu<<"}
    assert say(result.model_folder, [PAIRS[1][0], PAIRS[0][0]]) == [PAIRS[1][1], PAIRS[0][1]]


def test_cancelling_an_evaluation_that_writes(tmp_path: Path) -> None:
    """The event that announces the writing flips the switch; the run ends there and can be resumed."""
    from lmstudio_app.errors import Cancelled
    from lmstudio_app.events import Status
    from lmstudio_app.jobs import Control

    control, begun = Control(), []

    def _emit(event: Any) -> None:
        if isinstance(event, Status) and event.template.startswith("Writing"):
            begun.append(time.perf_counter())
            control.cancel()

    data = write_pairs(tmp_path / "pairs.jsonl", PAIRS)
    recipe = {
        "task": "translation", "model": str(build_t5(tmp_path / "t5")),
        "data": {"train": str(data), "eval": str(data)}, "options": {"max_target_length": 4000},
        "training": {"epochs": 1, "device": "cpu"},
    }  # fmt: skip
    with pytest.raises(Cancelled):
        train(TrainRequest(Recipe.from_dict(recipe), tmp_path / "run"), JobContext(_emit, control))
    assert begun
    assert list((tmp_path / "run" / "checkpoints").iterdir())
