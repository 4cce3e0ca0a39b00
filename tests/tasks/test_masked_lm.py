"""Masked language modelling from end to end: new and pretrained models, exact resume, gaps that are filled."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from lmstudio_app.cli import main
from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.loading import LoadedModel, LoadRequest, load_model
from lmstudio_app.tasks.fill_mask import FILL_MASK, FillMaskOptions
from lmstudio_app.tasks.masked_lm import MASKED_LM, encode
from lmstudio_app.tasks.masking import MaskingOptions
from lmstudio_app.tasks.task import Setup
from lmstudio_app.training.recipe import Recipe
from tests.conftest import build_tiny_tokenizer
from tests.tasks.pretraining import SENTENCES, interrupt, recipe, resume, run, write_documents


def load(folder: Path) -> LoadedModel:
    return load_model(LoadRequest(str(folder), device="cpu"), JobContext())


def fill(loaded: LoadedModel, *texts: str, **options: Any) -> list[Any]:
    rows = [{"text": text} for text in texts]
    return list(FILL_MASK.predict(loaded, rows, JobContext(), FillMaskOptions(**options)))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, float]]]:
    """A tiny BERT that has three sentences by heart."""
    folder = tmp_path_factory.mktemp("masked")
    data = write_documents(folder / "text.txt", 90, 1)
    values = {"epochs": 8, "dropout": 0.0, "learning_rate": 1e-2, "evaluate_every": 24}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMSTUDIO_APP_HOME", str(folder / "home"))
        result, _, evaluations = run(recipe("masked_lm", data, tokenizer={"lowercase": True}, **values), folder / "run")
    return result.model_folder, evaluations


def test_blocks_stay_within_their_document_and_begin_and_end_as_the_tokenizer_says() -> None:
    tokenizer = build_tiny_tokenizer()
    setup = Setup(tokenizer, (), 12, MaskingOptions())
    rows = {"text": ["the film was good", "and the plot was great", "a bad phone"], "document": [0, 0, 1]}
    found = encode(rows, setup)
    tokens = [tokenizer.convert_ids_to_tokens(ids) for ids in found["input_ids"]]
    assert tokens[0] == ["[CLS]", "the", "film", "was", "good", "and", "the", "plot", "was", "great", "[SEP]"]
    assert tokens[1][1:-1] == ["a", "bad", "phone"]
    assert found["row"] == [0, 2]
    long = encode({"text": ["the film " * 50], "document": [0]}, setup)
    assert {len(ids) for ids in long["input_ids"]} == {12}
    assert sum(len(ids) - 2 for ids in long["input_ids"]) == 100


def test_a_new_model_learns_to_fill_gaps(trained: tuple[Path, list[dict[str, float]]]) -> None:
    folder, evaluations = trained
    first, last = evaluations[0], evaluations[-1]
    assert last["loss"] < first["loss"]
    assert last["mlm_accuracy"] > 0.9
    assert last["pseudo_perplexity"] == pytest.approx(math.exp(last["loss"]))
    loaded = load(folder)
    assert loaded.head == "masked-lm"
    texts = [
        "The captain steers the [MASK] ship home.",
        "A small fox ___ that narrow path.",
        "Our <mask> opens his shop at dawn.",
    ]
    pieces = [
        len(loaded.tokenizer(word, add_special_tokens=False)["input_ids"]) for word in ("old", "follows", "baker")
    ]
    texts = [
        text.replace(gap, "___ " * n) for text, gap, n in zip(texts, ("[MASK]", "___", "<mask>"), pieces, strict=True)
    ]
    found = fill(loaded, *texts, top_k=8, batch_size=2)
    assert [len(output.places) for output in found] == pieces
    for output, sentence in zip(found, SENTENCES, strict=True):
        assert "".join(output.text.split()).lower() == "".join(sentence.split()).lower()
    shares = [candidate.probability for candidate in found[0].places[0]]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0.3
    whole = fill(loaded, texts[0], top_k=1000)[0]
    assert sum(candidate.probability for candidate in whole.places[0]) == pytest.approx(1, abs=1e-4)
    assert whole.to_row()["candidates"][0][0]["token"] == whole.places[0][0].token
    alone = [fill(loaded, text)[0].text for text in texts]
    assert alone == [output.text for output in found]  # padding changes nothing
    for gap in ("[MASK]", "<mask>", "_____"):
        assert len(fill(loaded, f"The {gap} steers.")[0].places) == 1


def test_gaps_that_cannot_be_filled_are_named(trained: tuple[Path, list[dict[str, float]]], tiny_encoder: Path) -> None:
    loaded = load(trained[0])
    with pytest.raises(UserError, match=r"There is no gap in this text: “A ship\.”"):
        fill(loaded, "A ship.")
    with pytest.raises(UserError, match="A gap lies beyond the 48 tokens"):
        fill(loaded, "ship " * 60 + "[MASK]")
    with pytest.raises(UserError, match="was not made to fill gaps"):
        fill(load(tiny_encoder), "A [MASK].")


@pytest.mark.parametrize("options", [{}, {"whole_words": True, "mlm_probability": 0.3}])
def test_a_run_that_goes_on_has_the_same_losses_to_the_last_bit(options: dict[str, Any], tmp_path: Path) -> None:
    data = write_documents(tmp_path / "text.txt")
    wanted = recipe("masked_lm", data, options=options)
    result, whole, _ = run(wanted, tmp_path / "whole")
    first = interrupt(wanted, tmp_path / "parts", 4)
    rest = resume(tmp_path / "parts")
    assert len(whole) > 8
    assert first + rest == whole
    assert len(set(whole)) == len(whole)
    for name in ("model.safetensors", "tokenizer.json"):
        assert (tmp_path / "parts/final" / name).read_bytes() == (result.model_folder / name).read_bytes()


def test_a_run_goes_on_with_its_own_tokenizer_when_the_data_has_changed(tmp_path: Path) -> None:
    data = write_documents(tmp_path / "text.txt")
    interrupt(recipe("masked_lm", data), tmp_path / "run", 3)
    checkpoint = next((tmp_path / "run/checkpoints").iterdir())
    before = json.loads((checkpoint / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    text = data.read_text(encoding="utf-8").replace("ship", "boat").replace("narrow", "winding")
    data.write_text(text, encoding="utf-8")
    resume(tmp_path / "run")
    after = json.loads((tmp_path / "run/final/tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    assert after == before


def test_a_pretrained_encoder_learns_on(tiny_encoder: Path, tmp_path: Path) -> None:
    data = write_documents(tmp_path / "text.txt")
    values = recipe("masked_lm", data, epochs=4).to_dict()
    del values["architecture"]
    result, _, evaluations = run(Recipe.from_dict({**values, "model": str(tiny_encoder)}), tmp_path / "run")
    assert evaluations[-1]["loss"] < evaluations[0]["loss"]
    config = json.loads((result.model_folder / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["BertForMaskedLM"]


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_documents(tmp_path / "text.txt")
    path = tmp_path / "recipe.yaml"
    recipe("masked_lm", data, epochs=1).save(path)
    assert main(["train", str(path), "--run-dir", str(tmp_path / "run")]) == 0
    (tmp_path / "in.jsonl").write_text('{"text": "The ___ is near."}\n', encoding="utf-8")
    files = ["--input", str(tmp_path / "in.jsonl"), "--output", str(tmp_path / "out.jsonl")]
    command = ["predict", "fill_mask", "--model", str(tmp_path / "run/final"), *files, "--top-k", "3"]
    assert main(command) == 0
    (row,) = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(row["candidates"][0]) == 3
    assert "base_model" not in (tmp_path / "run/final/README.md").read_text(encoding="utf-8")


def test_wrong_recipes_are_one_sentence(tmp_path: Path) -> None:
    data = write_documents(tmp_path / "text.txt")
    with pytest.raises(UserError, match=r"options\.mlm_probability is 2"):
        recipe("masked_lm", data, options={"mlm_probability": 2})
    with pytest.raises(UserError, match="No gpt2 model can be made from scratch for the task masked_lm"):
        recipe("masked_lm", data, "gpt2")
    with pytest.raises(UserError, match="none"):
        run(recipe("masked_lm", data, tokenizer={"folder": str(tmp_path / "none")}), tmp_path / "run")
    data.write_text("\n\n", encoding="utf-8")
    with pytest.raises(UserError):
        run(recipe("masked_lm", data), tmp_path / "empty")
    assert MASKED_LM.families == ("bert",)
