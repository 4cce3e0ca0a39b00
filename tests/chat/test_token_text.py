from __future__ import annotations

import random

import pytest
from transformers import PreTrainedTokenizerFast

from lmstudio_app.chat.token_text import Detokenizer, ReplyText, StopTexts
from tests.chat.conftest import byte_tokenizer

TEXT = "Grüße, 你好！ The café has 👩‍👩‍👧 and e\u0301. 日本語\n\n  done"


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return byte_tokenizer()


def ids_of(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def test_a_character_of_several_tokens_comes_with_the_last_of_them(tokenizer: PreTrainedTokenizerFast) -> None:
    stream = Detokenizer(tokenizer)
    told = [stream.add(token) for token in ids_of(tokenizer, "a你b👩")]
    assert told == ["a", "", "", "你", "b", "", "", "", "👩"]
    assert stream.finish() == ""


def test_what_is_streamed_is_what_is_decoded(tokenizer: PreTrainedTokenizerFast) -> None:
    stream = Detokenizer(tokenizer)
    assert "".join(stream.add(token) for token in ids_of(tokenizer, TEXT)) + stream.finish() == TEXT


def test_bytes_that_are_no_character_are_left_out_and_nothing_else() -> None:
    tokenizer, draw = byte_tokenizer(), random.Random(0)
    whole = ids_of(tokenizer, TEXT)
    for _ in range(50):
        ids = [draw.randrange(3, 259) if draw.random() < 0.2 else token for token in whole]
        stream = Detokenizer(tokenizer)
        told = "".join(stream.add(token) for token in ids) + stream.finish()
        assert told == tokenizer.decode(ids).replace("\ufffd", "")


def test_the_beginning_of_a_character_that_never_ends_is_not_told(tokenizer: PreTrainedTokenizerFast) -> None:
    stream = Detokenizer(tokenizer)
    told = [stream.add(token) for token in ids_of(tokenizer, "ok👩")[:-1]]
    assert "".join(told) + stream.finish() == "ok"


def test_special_tokens_are_left_out(tokenizer: PreTrainedTokenizerFast) -> None:
    stream = Detokenizer(tokenizer)
    assert "".join(stream.add(token) for token in [*ids_of(tokenizer, "a"), 1, *ids_of(tokenizer, "b")]) == "ab"


def test_a_text_goes_on_behind_what_was_there() -> None:
    """A sentencepiece token alone would lose the space that it begins with."""
    from tokenizers import Tokenizer, decoders, models

    backend = Tokenizer(models.WordLevel({"▁one": 0, "▁two": 1}, unk_token="▁one"))
    backend.decoder = decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    assert Detokenizer(tokenizer).add(1) == "two"
    assert Detokenizer(tokenizer, before=[0]).add(1) == " two"


@pytest.mark.parametrize(
    ("pieces", "told", "reached"),
    [
        (["Hello User", ": no"], "Hello ", True),
        (["Hello User", "s here"], "Hello Users here", False),
        (["aUs", "Use", "r:"], "aUs", True),
        (["U"], "U", False),
        (["one###", "two"], "one", True),
    ],
)
def test_a_reply_ends_before_a_stop_text(pieces: list[str], told: str, reached: bool) -> None:
    stop = StopTexts(["User:", "###"])
    found = ""
    for piece in pieces:
        found += stop.add(piece)
        if stop.reached:
            break
    if not stop.reached:
        found += stop.finish()
    assert (found, stop.reached) == (told, reached)


def test_a_stop_text_may_be_made_of_several_characters_of_several_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    text = ReplyText(tokenizer, ["再见"])
    told = ""
    for token in ids_of(tokenizer, "你好再见了"):
        told += text.add(token)
        if text.reached_stop:
            break
    assert told + text.finish() == "你好"
    assert text.reached_stop
