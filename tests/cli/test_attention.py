"""``lmstudio-app attention`` from end to end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lmstudio_app.cli import main

TEXT = "the film was not very good"
CHAT_TEMPLATE = "{% for message in messages %}[CLS] {{ message['role'] }} {{ message['content'] }} [SEP]{% endfor %}"


def save_tiny(folder: Path, encoder: Path, family: str, sizes: dict[str, Any], template: str | None = None) -> Path:
    """A new model of a family with the tiny encoder's tokenizer."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(encoder)
    tokenizer.chat_template = template
    config = getattr(transformers, f"{family}Config")(vocab_size=len(tokenizer), **sizes)
    kind = {"Bart": "BartForConditionalGeneration", "Llama": "LlamaForCausalLM"}[family]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        getattr(transformers, kind)(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tiny_translator(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    sizes = {f"{side}_{name}": 2 for side in ("encoder", "decoder") for name in ("layers", "attention_heads")}
    ffn = {"encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "d_model": 16, "max_position_embeddings": 64}
    tokens = {"pad_token_id": 0, "decoder_start_token_id": 2, "bos_token_id": 2, "eos_token_id": 3}
    folder = tmp_path_factory.mktemp("translator")
    return save_tiny(folder, tiny_encoder, "Bart", {**sizes, **ffn, **tokens, "forced_eos_token_id": None})


@pytest.fixture(scope="module")
def tiny_chat(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    folder = tmp_path_factory.mktemp("chat")
    return save_tiny(folder, tiny_encoder, "Llama", {**sizes, "max_position_embeddings": 64}, CHAT_TEMPLATE)


def test_numbers_and_picture(tiny_encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["attention", "--model", str(tiny_encoder), "--text", TEXT, "--device", "cpu"]
    assert main([*common, "--pair", "bad food", "--output", str(tmp_path / "a.npz")]) == 0
    with np.load(tmp_path / "a.npz") as data:
        assert data["weights"].shape == (2, 4, 11, 11)
        assert data["weights"].dtype == np.float32
        assert len(data["tokens"]) == 11
        np.testing.assert_allclose(data["weights"].sum(-1), 1, atol=1e-3)
    assert main([*common, "--layer", "1", "--head", "3", "--output", str(tmp_path / "a.png")]) == 0
    with Image.open(tmp_path / "a.png") as image:
        assert image.size[0] == 1600
    assert "Saved" in capsys.readouterr().err


def test_json_events(tiny_encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "a.npz"
    text = "good " * 300
    assert main(["attention", "--model", str(tiny_encoder), "--text", text, "--output", str(output), "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all(event["event"] in ("status", "progress") for event in events)
    assert [event["parameters"]["dropped"] for event in events if event.get("warning")] == [302 - 128]


def test_chosen_layers_and_heads_as_every_kind_of_file(tiny_encoder: Path, tmp_path: Path) -> None:
    common = ["attention", "--model", str(tiny_encoder), "--text", TEXT, "--device", "cpu", "--layers", "0-1"]
    for options in (
        ["--heads", "0,2", "--output", "a.npz"],
        ["--heads", "0,2", "--hide-special", "--merge-words", "--output", "a.csv"],
        ["--dark", "--colormap", "magma", "--width", "500", "--output", "a.png"],
        ["--heads", "all", "--output", "a.html"],
        ["--view", "rollout", "--output", "a.svg"],
        ["--layers", "1", "--heads", "3", "--view", "lines", "--scale", "shared", "--output", "a.pdf"],
    ):
        options[-1] = str(tmp_path / options[-1])
        assert main([*common, *options]) == 0
    with np.load(tmp_path / "a.npz") as data:
        assert data["weights"].shape == (2, 2, 8, 8)
        assert list(data["heads"]) == [0, 2]
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 1 + 2 * 2 * 6 * 6
    with Image.open(tmp_path / "a.png") as image:
        assert image.size[0] == 500
        assert sum(image.convert("RGB").getpixel((1, 1))) < 200
    assert "Attention rollout" in (tmp_path / "a.svg").read_text("utf-8")
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    assert TEXT in (tmp_path / "a.html").read_text("utf-8")


def test_cross_attention_with_a_target(tiny_translator: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.npz"
    options = ["--kind", "cross", "--target", "bad food", "--output", str(output)]
    assert main(["attention", "--model", str(tiny_translator), "--text", TEXT, *options]) == 0
    with np.load(output) as data:
        assert str(data["kind"]) == "cross"
        assert data["weights"].shape[2:] == (len(data["target_tokens"]), len(data["tokens"]))


def test_a_chat_is_laid_out_by_the_template(tiny_chat: Path, tmp_path: Path) -> None:
    lengths = []
    for options in ([], ["--chat"]):
        output = tmp_path / "a.npz"
        assert main(["attention", "--model", str(tiny_chat), "--text", "hello", "--output", str(output), *options]) == 0
        with np.load(output) as data:
            lengths.append(len(data["tokens"]))
    assert lengths[1] > lengths[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--output", "a.gif"], "cannot be written"),
        (["--layer", "9", "--output", "a.npz"], "no layer 9"),
        (["--head", "9", "--output", "a.npz"], "no head 9"),
        (["--layers", "0,x", "--output", "a.npz"], "--layers cannot be read"),
        (["--heads", "3-1", "--output", "a.npz"], "--heads cannot be read"),
        (["--width", "50", "--output", "a.png"], "50 pixels"),
        (["--view", "head", "--output", "a.png"], "which one"),
        (["--text", " ", "--output", "a.npz"], "no text"),
        (["--model", "starter:encoder", "--output", "a.npz"], "lmstudio-app models fetch"),
    ],
)
def test_bad_input_is_one_line_and_code_2(
    options: list[str],
    words: str,
    tiny_encoder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["attention", "--model", str(tiny_encoder), "--text", TEXT, *options]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert words in errors[0]
    assert not list(tmp_path.glob("a.*"))


def test_no_qt_is_imported(tiny_encoder: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from lmstudio_app.cli import main\n"
        f"code = main(['attention', '--model', {str(tiny_encoder)!r}, '--text', 'good film', "
        f"'--output', {str(tmp_path / 'a.png')!r}])\n"
        "assert not any(name.startswith(('PySide6', 'pyqtgraph')) for name in sys.modules)\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "sys.exit(code)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.png").is_file()
