"""What a new model's vocabulary is learned from, where it is kept, and ready tokenizers that fit or do not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from datasets import Dataset

from lmstudio_app.errors import UserError
from lmstudio_app.events import Status
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.architectures import TokenizerConfig
from lmstudio_app.models.tokenizers import train_tokenizer
from lmstudio_app.settings import cache_folder
from lmstudio_app.tasks import find_task
from lmstudio_app.training import scratch
from tests.tasks.pretraining import SENTENCES, recipe, run, write_documents


def test_the_texts_are_all_that_the_model_will_read() -> None:
    pairs = Dataset.from_dict({"text": ["a", "b"], "pair": ["c", None], "label": [0, 1]})
    assert list(scratch.training_texts(pairs, find_task("classification"))) == ["a", "c", "b"]
    chats = [[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]]
    assert list(scratch.training_texts(Dataset.from_dict({"messages": chats}), find_task("chat"))) == ["hi", "ho"]
    lines = Dataset.from_dict({"text": ["x", "y"], "document": [0, 1]})
    assert list(scratch.training_texts(lines, find_task("masked_lm"))) == ["x", "y"]


def test_of_much_text_rows_are_taken_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "MAX_CHARACTERS", 1000)
    lines = Dataset.from_dict({"text": [f"{n:010}" for n in range(5000)], "document": [0] * 5000})
    found = list(scratch.training_texts(lines, find_task("masked_lm")))
    assert found == [f"{n:010}" for n in range(0, 5000, 50)]


def test_a_vocabulary_is_learned_once_and_kept(tmp_path: Path) -> None:
    data = write_documents(tmp_path / "text.txt")
    wanted = recipe("masked_lm", data, epochs=0.3)
    run(wanted, tmp_path / "first")
    (kept,) = (cache_folder() / "tokenizers").iterdir()
    changed = (kept / "tokenizer.json").stat().st_mtime_ns
    run(wanted, tmp_path / "second")
    assert (kept / "tokenizer.json").stat().st_mtime_ns == changed
    run(recipe("masked_lm", data, epochs=0.3, tokenizer={"vocabulary": 100}), tmp_path / "third")
    assert len(list((cache_folder() / "tokenizers").iterdir())) == 2
    names = [
        json.loads((tmp_path / f"{run}/final/config.json").read_text())["vocab_size"] for run in ("first", "third")
    ]
    assert names[0] > names[1]


def test_a_ready_tokenizer_is_taken_if_it_fits(tmp_path: Path) -> None:
    data = write_documents(tmp_path / "text.txt")
    for family in ("bert", "llama"):
        tokenizer = train_tokenizer(
            TokenizerConfig(vocabulary=100), SENTENCES * 4, JobContext(), family=family, max_length=48
        )
        tokenizer.save_pretrained(tmp_path / family)
    result, _, _ = run(
        recipe("masked_lm", data, epochs=0.3, tokenizer={"folder": str(tmp_path / "bert")}), tmp_path / "run"
    )
    config = json.loads((result.model_folder / "config.json").read_text(encoding="utf-8"))
    assert config["vocab_size"] == len(train_tokenizer(TokenizerConfig(vocabulary=100), SENTENCES * 4, JobContext()))
    with pytest.raises(UserError, match="has no cls_token, sep_token, mask_token, which a bert model needs"):
        run(recipe("masked_lm", data, tokenizer={"folder": str(tmp_path / "llama")}), tmp_path / "other")


def test_a_vocabulary_that_is_too_large_for_the_text_shrinks_with_a_warning(tmp_path: Path) -> None:
    from lmstudio_app.training.loop import TrainRequest, train

    events: list[object] = []
    wanted = recipe("causal_lm", write_documents(tmp_path / "t.txt"), "gpt2", epochs=0.3, tokenizer={"vocabulary": 900})
    result = train(TrainRequest(wanted, tmp_path / "run"), JobContext(events.append))
    (warning,) = [e for e in events if isinstance(e, Status) and e.warning and "yield a vocabulary" in e.template]
    config = json.loads((result.model_folder / "config.json").read_text(encoding="utf-8"))
    assert config["vocab_size"] == warning.parameters["found"] < 900
