"""``predict`` with what a pretrained model can be asked, and what its help says of rows."""

import json
from pathlib import Path
from typing import Any

import pytest

from lmstudio_app.cli import main
from lmstudio_app.tasks import PREDICTIONS, find_prediction
from tests.conftest import build_tiny_tokenizer


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A BERT with both pretraining heads and a GPT-2, with random weights."""
    import torch
    from transformers import BertConfig, BertForPreTraining, GPT2Config, GPT2LMHeadModel

    tokenizer = build_tiny_tokenizer()
    folder = tmp_path_factory.mktemp("models")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        bert = BertConfig(
            vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
        )
        gpt2 = GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=1, n_head=2, bos_token_id=2, eos_token_id=3)
        for name, model in (("bert", BertForPreTraining(bert)), ("gpt2", GPT2LMHeadModel(gpt2))):
            model.save_pretrained(folder / name)
            tokenizer.save_pretrained(folder / name)
    return {"bert": folder / "bert", "gpt2": folder / "gpt2"}


def predict(name: str, model: Path, rows: list[Any], folder: Path, *more: str) -> tuple[int, list[Any]]:
    source, target = folder / "in.jsonl", folder / "out.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    arguments = ["--model", str(model), "--input", str(source), "--output", str(target), "--device", "cpu"]
    code = main(["predict", name, *arguments, *more])
    return code, [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()] if not code else []


def test_gaps_are_filled(models: dict[str, Path], tmp_path: Path) -> None:
    rows = [{"text": "the ___ was good"}, {"text": "a [MASK] film and a [MASK] plot"}]
    code, outputs = predict("fill_mask", models["bert"], rows, tmp_path, "--top-k", "3")
    assert code == 0
    assert [[len(place) for place in output["candidates"]] for output in outputs] == [[3], [3, 3]]
    best = outputs[0]["candidates"][0][0]["token"]
    assert outputs[0]["text"] == (f"the{best[2:]} was good" if best.startswith("##") else f"the {best} was good")


def test_pairs_are_judged(models: dict[str, Path], tmp_path: Path) -> None:
    code, [output] = predict("next_sentence", models["bert"], [{"text": "good film", "pair": "i loved it"}], tmp_path)
    assert code == 0
    assert set(output["scores"]) == {"follows", "random"}
    assert output["label"] == max(output["scores"], key=output["scores"].get)
    assert sum(output["scores"].values()) == pytest.approx(1, abs=1e-6)


def test_texts_go_on(models: dict[str, Path], tmp_path: Path) -> None:
    code, outputs = predict(
        "next_token", models["gpt2"], [{"text": "the film"}, {"text": ""}], tmp_path, "--top-k", "4"
    )
    assert code == 0
    for output in outputs:
        [place] = output["candidates"]
        shares = [item["probability"] for item in place]
        assert shares == sorted(shares, reverse=True)
        assert len(shares) == 4


@pytest.mark.parametrize(
    ("name", "model", "row", "words"),
    [
        ("fill_mask", "bert", {"text": "no gap here"}, "no gap in this text: “no gap here”. Write [MASK] or ___"),
        ("fill_mask", "gpt2", {"text": "a ___"}, "was not made to fill gaps"),
        ("next_sentence", "bert", {"text": "alone"}, 'Each row needs {"pair": …}'),
        ("next_sentence", "gpt2", {"text": "a", "pair": "b"}, "judge whether texts follow each other"),
        ("next_token", "bert", {"text": "a"}, "does not write from left to right"),
    ],
)
def test_what_cannot_be_asked_is_one_line(
    models: dict[str, Path],
    name: str,
    model: str,
    row: dict[str, str],
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, _ = predict(name, models[model], [row], tmp_path)
    assert code == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert words in error
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("name", [prediction.name for prediction in PREDICTIONS])
def test_the_help_says_what_rows_hold(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["predict", name, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    prediction = find_prediction(name)
    for column in prediction.inputs:
        assert f"{column.name}: {column.help}" in text
    first = next(iter(prediction.output.__dataclass_fields__))
    assert f'out: {{"{first}": …' in text


@pytest.mark.parametrize(
    ("name", "model", "good", "bad"),
    [
        ("fill_mask", "bert", {"text": "a ___"}, {"text": "no gap"}),
        ("fill_mask", "bert", {"text": "a ___"}, {"text": None}),
        ("next_sentence", "bert", {"text": "a", "pair": "b"}, {"text": "alone"}),
        ("next_token", "gpt2", {"text": "a"}, {"words": 5}),
        ("chat", "gpt2", {"messages": [{"role": "user", "content": "hi"}]}, {"messages": ["hi"]}),
    ],
)
def test_the_line_of_a_bad_row_is_named_and_the_old_output_stays(
    models: dict[str, Path],
    name: str,
    model: str,
    good: dict[str, Any],
    bad: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "out.jsonl").write_text("old", encoding="utf-8")
    code, _ = predict(name, models[model], [good, good, bad, good], tmp_path, "--batch-size", "1")
    assert code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: Line 3 of {tmp_path / 'in.jsonl'}: ")
    assert (tmp_path / "out.jsonl").read_text(encoding="utf-8") == "old"


@pytest.fixture
def knowledge_base(tmp_path: Path, tiny_encoder: Path) -> Path:
    from lmstudio_app.jobs import JobContext
    from lmstudio_app.knowledge.building import BuildRequest, build_knowledge_base

    (tmp_path / "birds.txt").write_text("A heron is a bird that waits at the water. It eats fish.", encoding="utf-8")
    folder = tmp_path / "kb"
    request = BuildRequest(folder, (tmp_path / "birds.txt",), (), str(tiny_encoder), "cpu", None)
    build_knowledge_base(request, JobContext())
    return folder


def ask(folder: Path, knowledge_base: Path, *more: str) -> tuple[int, list[Any]]:
    source, target = folder / "in.jsonl", folder / "out.jsonl"
    source.write_text('{"question": "What does a heron eat?"}\n{"question": "What waits?"}\n', encoding="utf-8")
    arguments = ["--input", str(source), "--output", str(target), "--device", "cpu"]
    code = main(["predict", "question_answering", *arguments, "--knowledge-base", str(knowledge_base), *more])
    return code, [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()] if not code else []


def test_questions_are_answered_from_a_knowledge_base(knowledge_base: Path, tmp_path: Path) -> None:
    code, outputs = ask(tmp_path, knowledge_base, "--min-probability", "0")
    assert code == 0
    assert len(outputs) == 2
    text = (tmp_path / "birds.txt").read_text(encoding="utf-8")
    for output in outputs:
        assert output["answer"] in text
        assert 0 <= output["score"] <= 1
        [source] = output["sources"]
        assert source["file"] == str(tmp_path / "birds.txt")
        assert text[source["start"] : source["end"]] == source["text"]


def test_a_question_without_model_and_knowledge_base_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.jsonl").write_text('{"question": "a", "context": "b"}\n', encoding="utf-8")
    files = ["--input", str(tmp_path / "in.jsonl"), "--output", str(tmp_path / "out.jsonl")]
    assert main(["predict", "question_answering", *files]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "error: No model is named. Add --model REF, or --knowledge-base DIR."
    )


def test_a_knowledge_base_that_is_missing_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = ask(tmp_path, tmp_path / "nowhere")
    assert code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: ")
