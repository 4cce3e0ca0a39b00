"""Alignments are the model's own cross-attention, put onto words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmstudio_app.jobs import JobContext
from lmstudio_app.models.loading import LoadedModel, LoadRequest, load_model
from lmstudio_app.tasks.alignment import _by_words, can_align, token_spans, word_spans
from lmstudio_app.tasks.translating import translate
from lmstudio_app.tasks.translators import TranslateOptions, make_translator
from tests.tiny_chat import build_chat
from tests.tiny_seq2seq import CHINESE, PAIRS, build_bart, build_m2m100, build_marian, build_t5


def load(folder: Path, attention: str = "sdpa") -> LoadedModel:
    return load_model(LoadRequest(str(folder), device="cpu", attention=attention), JobContext())


@pytest.mark.parametrize("build", [build_marian, build_t5, build_bart, build_m2m100])
def test_the_weights_are_those_that_the_model_shows_when_it_is_eager(build: Any, tmp_path: Path) -> None:
    import torch

    folder = build(tmp_path / "model")
    loaded, eager = load(folder), load(folder, "eager")
    options = TranslateOptions(source_language="en", target_language="de")
    translator = make_translator(loaded, options)
    pairs = [PAIRS[0], PAIRS[3]]
    found = translator.align(pairs, ["", ""], JobContext())
    tokenizer = loaded.tokenizer
    for (source, target), alignment in zip(pairs, found, strict=True):
        assert alignment is not None
        if build is build_m2m100:
            tokenizer.src_lang, tokenizer.tgt_lang = "en", "de"
        ids = tokenizer(translator.direction.lead("de") + source, return_tensors="pt")["input_ids"]
        written = tokenizer(text_target=target, add_special_tokens=False)["input_ids"]
        begun = [loaded.model.config.decoder_start_token_id, *translator.direction.decoder_prefix("de")]
        inputs = {"input_ids": ids, "decoder_input_ids": torch.tensor([[*begun, *written]])}
        with torch.inference_mode():
            shown = eager.model(**inputs, output_attentions=True).cross_attentions
        weights = shown[len(shown) - 2][0].mean(0)[len(begun) - 1 : -1].numpy()
        lead = translator.direction.lead("de")
        source_spans = [
            None if span is None or span[0] < len(lead) else (span[0] - len(lead), span[1] - len(lead))
            for span in token_spans(tokenizer, ids[0].tolist(), lead + source)
        ]
        target_spans = token_spans(tokenizer, written, target)
        expected = _by_words(weights, source_spans, target_spans, source, target)
        assert [source[slice(*span)] for span in alignment.source] == source.split()
        assert [target[slice(*span)] for span in alignment.target] == target.split()
        assert np.allclose(alignment.weights, expected.weights, atol=1e-5)
        assert np.allclose(np.sum(alignment.weights, axis=1), 1)
    assert not any(module._forward_pre_hooks for module in loaded.model.modules())


def test_tokens_find_their_characters(tmp_path: Path) -> None:
    tokenizer = load(build_marian(tmp_path / "marian")).tokenizer

    def _found(text: str) -> list[str]:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        return [text[slice(*span)] for span in token_spans(tokenizer, ids, text) if span is not None]

    assert "".join(_found("the  cat\nsits")) == "thecatsits"
    assert "".join(_found("the cat Ω sits")) == "thecatΩsits"  # not in the vocabulary
    assert "".join(_found("ｔｈｅ cat")) == "ｔｈｅcat"  # full width, which the tokenizer writes as usual letters
    chinese = CHINESE[0][1]
    ids = tokenizer(text_target=chinese, add_special_tokens=False)["input_ids"]
    spans = token_spans(tokenizer, ids, chinese)
    words = word_spans(chinese, spans)
    assert "".join(chinese[slice(*word)] for word in words) == chinese
    assert len(words) > 1


def test_words_add_what_their_tokens_have() -> None:
    matrix = np.array([[0.5, 0.2, 0.1, 0.2], [0.1, 0.1, 0.6, 0.2], [0.0, 0.0, 0.4, 0.6]], dtype=np.float32)
    source: list[tuple[int, int] | None] = [(0, 2), (2, 4), (5, 8), None]  # the last one is the end of the text
    target: list[tuple[int, int] | None] = [(0, 3), (4, 6), (6, 9)]
    alignment = _by_words(matrix, source, target, "abcd efg", "abc defgh")
    assert alignment.source == ((0, 4), (5, 8))
    assert alignment.target == ((0, 3), (4, 9))
    assert np.allclose(alignment.weights, [[0.875, 0.125], [0.1 / 0.6, 0.5 / 0.6]], atol=1e-6)


def test_rows_carry_it_when_it_is_asked_for_and_chat_models_have_none(tmp_path: Path) -> None:
    loaded = load(build_marian(tmp_path / "marian", spread=0.3))
    options = TranslateOptions(alignment=True, beams=2, max_new_tokens=8)
    row = next(translate(loaded, [{"text": "we drink tea. Good morning"}], JobContext(), options)).to_row()
    assert [sentence["source"] for sentence in row["sentences"]] == ["we drink tea.", "Good morning"]
    first = row["sentences"][0]["alignment"]
    assert len(first["weights"]) == len(first["target"])
    assert len(first["source"]) == 4
    chat = load(build_chat(tmp_path / "chat"))
    assert can_align(loaded)
    assert not can_align(chat)
    spoken = next(translate(chat, [{"text": "tea"}], JobContext(), TranslateOptions(
        target_language="de", alignment=True, max_new_tokens=3)))  # fmt: skip
    assert "alignment" not in spoken.to_row()["sentences"][0]
