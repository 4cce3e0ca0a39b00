"""Finding passages by words and by meaning."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from lmstudio_app.errors import Cancelled
from lmstudio_app.jobs import JobContext
from lmstudio_app.knowledge.building import BuildRequest, build_knowledge_base
from lmstudio_app.knowledge.encoder import Encoder, fingerprint
from lmstudio_app.knowledge.search import KnowledgeBase
from lmstudio_app.models.loading import LoadRequest, load_model


def build(base: Path, encoder: Encoder, *sources: Path) -> None:
    build_knowledge_base(BuildRequest(base, sources), JobContext(), encoder)


def test_meaning_is_found_without_a_common_word(tmp_path: Path, folder: Path, real_encoder: Encoder) -> None:
    build(tmp_path / "base", real_encoder, folder)
    with KnowledgeBase(tmp_path / "base", real_encoder) as base:
        for question, name in (
            ("Which animals doze a lot?", "cats.txt"),
            ("How do I make a loaf?", "bread.md"),
            ("Is there an atmosphere on our satellite?", "moon.txt"),
        ):
            found = base.search(question, JobContext(), top=3)
            best = max(found, key=lambda item: item.similarity or 0.0)
            assert Path(best.file).name == name
            assert best is found[0] or found[0].bm25 > 0
            assert best.text == Path(best.file).read_text(encoding="utf-8")[best.start : best.end]


def test_vectors_are_those_of_sentence_transformers(real_encoder: Encoder) -> None:
    """Mean over the tokens, of length 1; the values of the published model for these sentences."""
    texts = ["That is a happy person", "That is a happy dog", "Today is a sunny day"]
    vectors = real_encoder.embed(texts, JobContext())
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    apart = np.stack([real_encoder.embed([text], JobContext())[0] for text in texts])
    np.testing.assert_allclose(vectors, apart, atol=1e-5)  # padding changes nothing
    similarities = vectors @ vectors[0]
    assert similarities[1] > similarities[2] > 0


def test_ranks_are_fused(tmp_path: Path, encoder: Encoder) -> None:
    (tmp_path / "files").mkdir()
    for name, text in (("a", "a zebra"), ("b", "the film was good"), ("c", "the film was bad")):
        (tmp_path / "files" / f"{name}.txt").write_text(text)
    build(tmp_path / "base", encoder, tmp_path / "files")
    with KnowledgeBase(tmp_path / "base", encoder) as base:
        vector = encoder.embed(["the film was good"], JobContext())[0]
        found = base.rank("zebra", vector, JobContext(), 3)
    scores = {Path(item.file).stem: item.score for item in found}
    ranks = {
        Path(item.file).stem: rank for rank, item in enumerate(sorted(found, key=lambda i: -(i.similarity or 0)), 1)
    }
    assert ranks["b"] == 1
    assert scores["a"] == pytest.approx(1 / 61 + 1 / (60 + ranks["a"]))
    assert scores["b"] == pytest.approx(1 / 61)
    assert [item.bm25 > 0 for item in found] == [Path(item.file).stem == "a" for item in found]
    assert found == sorted(found, key=lambda item: -item.score)


def test_an_open_base_sees_what_a_build_changes(tmp_path: Path, folder: Path, encoder: Encoder) -> None:
    build(tmp_path / "base", encoder, folder)
    with KnowledgeBase(tmp_path / "base", encoder) as base:
        assert not any("zebra" in item.text for item in base.search("zebra", JobContext()))
        (folder / "new.txt").write_text("A zebra has stripes.")
        build(tmp_path / "base", encoder)
        found = base.search("zebra", JobContext())[0]
        assert found.text == "A zebra has stripes."
        assert found.similarity is not None


def test_nothing_is_found_in_nothing(tmp_path: Path, folder: Path, encoder: Encoder) -> None:
    build(tmp_path / "base", encoder, folder)
    with KnowledgeBase(tmp_path / "base", encoder) as base:
        assert base.search("  ", JobContext()) == []
        for path in folder.iterdir():
            path.unlink()
        build(tmp_path / "base", encoder)
        assert base.search("cats", JobContext()) == []


def test_a_search_is_cancelled(tmp_path: Path, folder: Path, encoder: Encoder) -> None:
    build(tmp_path / "base", encoder, folder)
    ctx = JobContext()
    ctx.control.cancel()
    with KnowledgeBase(tmp_path / "base", encoder) as base, pytest.raises(Cancelled):
        base.search("cats", ctx)


def test_a_model_that_states_so_takes_the_first_token(tmp_path: Path, tiny_encoder: Path) -> None:
    folder = tmp_path / "cls"
    shutil.copytree(tiny_encoder, folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 16}')
    encoder = Encoder(load_model(LoadRequest(str(folder), head="base", device="cpu"), JobContext()))
    assert encoder.limit == 16
    model, tokenizer = encoder.loaded.model, encoder.loaded.tokenizer
    first = model(**tokenizer("a good film", return_tensors="pt")).last_hidden_state[0, 0].detach().numpy()
    vector = encoder.embed(["a good film"], JobContext())[0]
    np.testing.assert_allclose(vector, first / np.linalg.norm(first), atol=1e-5)
    assert fingerprint(folder) != fingerprint(tiny_encoder)


def test_one_changed_layer_is_another_model(tmp_path: Path, starter_encoder: Path) -> None:
    from safetensors.torch import load_file, save_file

    before = fingerprint(starter_encoder)
    folder = tmp_path / "changed"
    shutil.copytree(starter_encoder, folder)
    assert fingerprint(folder) == before
    tensors = load_file(folder / "model.safetensors")
    tensors["encoder.layer.3.intermediate.dense.weight"] += 0.01
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert fingerprint(folder) != before
