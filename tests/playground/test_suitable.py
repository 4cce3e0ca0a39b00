"""Which models on the disk are offered for what, by command and to the pages."""

import json
import shutil
from pathlib import Path

import pytest

from lmstudio_app.cli import main
from lmstudio_app.jobs import JobContext
from lmstudio_app.playground.suitable import find_suitable
from lmstudio_app.settings import models_folder
from tests.conftest import build_tiny_bert
from tests.tiny_seq2seq import build_marian, build_t5


@pytest.fixture
def models(tiny_classifier: Path, tiny_encoder: Path) -> dict[str, Path]:
    """A classifier of topics, one of entailment, an encoder, a translator, an all-rounder, and a damaged model."""
    root = models_folder()
    root.mkdir(parents=True)
    shutil.copytree(tiny_classifier, root / "classifier")
    shutil.copytree(tiny_encoder, root / "encoder")
    build_tiny_bert(root / "entailment", labels=("entailment", "neutral", "contradiction"))
    build_marian(root / "marian", tokens=(">>deu<<",))
    build_t5(root / "t5")
    shutil.copytree(tiny_classifier, root / "damaged")
    (root / "damaged" / "model.safetensors").write_bytes(b"no weights")
    return {path.name: path for path in root.iterdir()}


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [
        ("sentiment", ["classifier", "entailment"]),
        ("zero_shot", ["encoder", "entailment"]),
        ("translation", ["starter:translate", "marian", "t5"]),
        ("summarization", ["t5"]),
        ("chat", []),
        ("question_answering", []),
    ],
)
def test_what_fits_is_offered(models: dict[str, Path], prediction: str, expected: list[str]) -> None:
    found = [Path(model.reference).name for model in find_suitable(prediction, JobContext())]
    assert found == expected


def test_the_command_lists_them(models: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list", "--for", "translation", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(Path(row["reference"]).name, row["made_for_it"]) for row in rows] == [
        ("starter:translate", True),
        ("marian", True),
        ("t5", True),
    ]
    assert main(["models", "list", "--for", "sentiment"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["NAME", "PARAMETERS", "MADE", "FOR", "IT", "TITLE"]
    assert len(lines) == 3
