"""What stands on the axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lmstudio_app.inspection.tokens import encode_text, position_limit


def byte_level_tokenizer() -> Any:
    """GPT-2's kind: every byte is a token, and frequent words are merged."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(["the film was the film " * 20], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def metaspace_tokenizer() -> Any:
    """SentencePiece's kind: a word begins with ▁."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=["<unk>"])
    tokenizer.train_from_iterator(["the film was the film " * 20], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


@pytest.mark.parametrize("make", [byte_level_tokenizer, metaspace_tokenizer])
def test_word_starts_are_read_without_the_vocabularys_marks(
    make: Callable[[], Any], make_loaded: Callable[..., Any]
) -> None:
    model = make_loaded("gpt2", vocab_size=400).model
    encoded = encode_text(model, make(), "the film was", None)
    assert encoded.tokens.labels == ("the", "film", "was")
    assert encoded.tokens.tokens[1][0] in "Ġ▁"
    assert encoded.tokens.segments == (0, 0, 0)


def test_parts_of_a_character_and_blanks_can_be_read(make_loaded: Callable[..., Any]) -> None:
    model = make_loaded("gpt2", vocab_size=400).model
    encoded = encode_text(model, byte_level_tokenizer(), "好 film\n", None)
    assert encoded.tokens.labels == ("好", "好", "好", "film", "⏎")
    assert len(set(encoded.tokens.tokens[:3])) > 1


def test_word_pieces_keep_the_mark_of_a_continuation(make_loaded: Callable[..., Any]) -> None:
    loaded = make_loaded("bert")
    encoded = encode_text(loaded.model, loaded.tokenizer, "Films", None)
    assert encoded.tokens.labels == encoded.tokens.tokens == ("[CLS]", "film", "##s", "[SEP]")


def test_truncation_and_padding_baked_into_the_tokenizer_do_not_count(make_loaded: Callable[..., Any]) -> None:
    """The starter encoder's tokenizer file pads and cuts to 128."""
    loaded = make_loaded("bert")
    backend = loaded.tokenizer.backend_tokenizer
    backend.enable_truncation(8)
    backend.enable_padding(length=8)
    try:
        assert len(encode_text(loaded.model, loaded.tokenizer, "good film", None).tokens) == 4
        assert len(encode_text(loaded.model, loaded.tokenizer, "good " * 20, None).tokens) == 22
    finally:
        backend.no_truncation()
        backend.no_padding()


@pytest.mark.parametrize(("family", "limit"), [("bert", 64), ("roberta", 62), ("gpt2", 64), ("llama", 64)])
def test_the_limit_is_what_the_model_can_number(family: str, limit: int, make_loaded: Callable[..., Any]) -> None:
    loaded = make_loaded(family)
    assert position_limit(loaded.model, loaded.tokenizer) == limit


def test_relative_positions_leave_the_limit_to_the_tokenizer(make_loaded: Callable[..., Any]) -> None:
    loaded = make_loaded("t5")
    assert position_limit(loaded.model, loaded.tokenizer) == 128
    assert position_limit(loaded.model, metaspace_tokenizer()) is None
