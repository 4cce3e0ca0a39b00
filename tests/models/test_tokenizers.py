"""Vocabularies of every kind, learned from real texts: what they hold, that they repeat, and what goes wrong."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import psutil
import pytest

from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.events import Status
from lmstudio_app.jobs import Control, JobContext
from lmstudio_app.models.architectures import TokenizerConfig
from lmstudio_app.models.loading import load_tokenizer
from lmstudio_app.models.tokenizer_files import copy_tokenizer
from lmstudio_app.models.tokenizer_report import show_tokens, tokenizer_report
from lmstudio_app.models.tokenizers import train_tokenizer
from tests.tiny_seq2seq import build_marian

_random = random.Random(7)
_SYLLABLES = [a + b for a in "bdfgklmnprst" for b in ("a", "e", "i", "o", "u", "an", "er", "il")]
_WORDS = ["".join(_random.choices(_SYLLABLES, k=1 + n % 4)) for n in range(300)]
TEXTS = [
    " ".join(_random.choices(_WORDS, [1 / (n + 1) for n in range(300)], k=9)).capitalize() + "." for _ in range(250)
]
KINDS = [
    ("bert", "wordpiece"), ("bert", "unigram"), ("bert", "bpe"), ("gpt2", "bpe"), ("llama", "unigram"),
    ("marian", "unigram"), ("marian", "bpe"),
]  # fmt: skip


def learn(family: str, kind: str = "auto", texts: list[str] | None = None, **values: Any) -> Any:
    extra = values.pop("extra", ())
    config = TokenizerConfig(kind=kind, **{"vocabulary": 160, **values})
    return train_tokenizer(
        config, TEXTS if texts is None else texts, JobContext(), family=family, max_length=64, extra=extra
    )


@pytest.mark.parametrize(("family", "kind"), KINDS)
def test_every_kind_reads_its_texts_repeats_itself_and_loads_again(family: str, kind: str, tmp_path: Path) -> None:
    tokenizer = learn(family, kind)
    assert len(tokenizer) == 160
    again = learn(family, kind)
    assert again.get_vocab() == tokenizer.get_vocab()
    tokenizer.save_pretrained(tmp_path)
    loaded = load_tokenizer(tmp_path)
    ids = [tokenizer(text)["input_ids"] for text in TEXTS]
    assert [again(text)["input_ids"] for text in TEXTS] == ids
    assert [loaded(text)["input_ids"] for text in TEXTS] == ids
    assert loaded.model_max_length == 64
    assert all(tokenizer.unk_token_id not in row for row in ids)
    assert tokenizer.decode(ids[0], skip_special_tokens=True).replace(" .", ".") == TEXTS[0]
    assert sum(map(len, ids)) < sum(map(len, TEXTS)) / 2  # it has learned more than characters


def test_the_special_tokens_are_the_familys_own() -> None:
    for kind in ("wordpiece", "unigram"):
        bert = learn("bert", kind)
        first = bert.convert_ids_to_tokens(range(5))
        assert first == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        pair = bert(TEXTS[0], TEXTS[1])
        tokens = bert.convert_ids_to_tokens(pair["input_ids"])
        assert (tokens[0], tokens[-1], tokens.count("[SEP]")) == ("[CLS]", "[SEP]", 2)
        assert pair["token_type_ids"] == sorted(pair["token_type_ids"])
        assert set(pair["token_type_ids"]) == {0, 1}
    llama = learn("llama")
    assert llama.convert_ids_to_tokens(range(4)) == ["<unk>", "<s>", "</s>", "<pad>"]
    assert show_tokens(llama, TEXTS[0])[0] == "<s>"
    assert (llama.pad_token_id, llama.bos_token_id, llama.eos_token_id) == (3, 1, 2)
    marian = learn("marian")
    assert (marian.eos_token_id, marian.unk_token_id, marian.pad_token_id) == (0, 1, len(marian) - 1)
    assert show_tokens(marian, TEXTS[0])[-1] == "</s>"


@pytest.mark.parametrize("family", ["marian", "bert", "llama"])
def test_further_special_tokens_stay_whole_and_count(family: str, tmp_path: Path) -> None:
    tokenizer = learn(family, extra=(">>deu<<", ">>fra<<"))
    assert len(tokenizer) == 160
    tokenizer.save_pretrained(tmp_path)
    for found in (tokenizer, load_tokenizer(tmp_path)):
        tokens = show_tokens(found, f">>deu<< {TEXTS[0]}")
        assert ">>deu<<" in tokens
        assert found.unk_token not in tokens


def test_a_decoder_writes_again_what_it_has_read() -> None:
    tokenizer = learn("gpt2", vocabulary=1000)  # from here on there is a piece for every byte
    for text in ("The old  captain\npaints 17 songs.", "这部电影 ☃ naïve", "a\tb"):
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_small_letters_are_a_choice() -> None:
    for family in ("bert", "llama", "marian"):
        plain, small, text = learn(family), learn(family, lowercase=True), TEXTS[0]
        assert plain(text)["input_ids"] != plain(text.lower())["input_ids"]
        assert small(text)["input_ids"] == small(text.lower())["input_ids"]


def test_sentencepiece_and_its_fast_twin_cut_alike(tmp_path: Path) -> None:
    import sentencepiece

    from lmstudio_app.models import tokenizers

    for kind in ("unigram", "bpe"):
        config = TokenizerConfig(kind=kind, vocabulary=200)
        folder = tmp_path / kind
        folder.mkdir()
        normalize = tokenizers._normalizer("llama", False)
        tokenizers._write_texts(folder / "texts.txt", TEXTS, normalize, JobContext())
        options = tokenizers._sentencepiece_options(config, kind, "llama", 0)
        tokenizers._learn(kind, folder, options, config, JobContext())
        processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "vocabulary"))
        fast = tokenizers._assemble(folder, kind, config, "llama", 64, (), normalize)
        for text in TEXTS:
            assert fast(text, add_special_tokens=False)["input_ids"] == processor.encode(text)


def test_too_little_text_gives_a_smaller_vocabulary_and_says_so() -> None:
    for kind in ("wordpiece", "unigram", "bpe"):
        events: list[Any] = []
        config = TokenizerConfig(kind=kind, vocabulary=8000)
        tokenizer = train_tokenizer(config, TEXTS, JobContext(events.append))
        assert 60 < len(tokenizer) < 3000
        (warning,) = [event for event in events if isinstance(event, Status) and event.warning]
        assert warning.parameters == {"found": len(tokenizer), "wanted": 8000}


def test_what_cannot_be_learned_is_one_sentence() -> None:
    for texts in ([], ["", "  \n "]):
        with pytest.raises(UserError, match="There is no text to learn a vocabulary from"):
            learn("bert", texts=texts)
    many = ["".join(chr(0x4E00 + n) for n in range(start, start + 40)) for start in range(0, 4000, 40)]
    with pytest.raises(
        UserError, match="A vocabulary of 160 pieces is too small for the different characters"
    ) as found:
        learn("bert", "unigram", many)
    assert found.value.parameters["least"] > 4000
    with pytest.raises(UserError, match="A WordPiece vocabulary does not keep spaces, so a gpt2 model"):
        learn("gpt2", "wordpiece")
    with pytest.raises(UserError, match=r"architecture\.tokenizer\.vocabulary is 3"):
        TokenizerConfig(vocabulary=3)


@pytest.mark.parametrize("kind", ["wordpiece", "unigram"])
def test_learning_is_cancelled_at_once(kind: str) -> None:
    control = Control()
    words = [f"word{n * 7919 % 99991:x} and{n:x}" for n in range(60_000)]
    timer = threading.Timer(1.0, control.cancel)
    timer.start()
    try:
        with pytest.raises(Cancelled):
            train_tokenizer(TokenizerConfig(kind=kind, vocabulary=200_000), words * 20, JobContext(None, control))
    finally:
        timer.cancel()
        timer.join()
    begun = time.monotonic()
    with pytest.raises(Cancelled):
        train_tokenizer(TokenizerConfig(kind=kind), TEXTS, JobContext(None, control))
    assert time.monotonic() - begun < 2


def test_the_report_tells_what_is_not_covered() -> None:
    tokenizer = learn("bert", "wordpiece")
    report = tokenizer_report(tokenizer, [*TEXTS, f"{TEXTS[0]} Ω"], samples=2)
    assert report.vocabulary == 160
    assert report.texts == len(TEXTS) + 1
    assert report.unknown_words == ("Ω",)
    assert report.words - report.coverage * report.words == pytest.approx(1)
    assert 1 - 1e-2 < report.coverage < 1
    assert 1 < report.tokens_per_word < 4
    assert [text for text, _ in report.samples] == TEXTS[:2]
    assert report.samples[0][1][0] == "[CLS]"
    chinese = tokenizer_report(tokenizer, ["这部电影"])
    assert (chinese.words, chinese.coverage, chinese.character_coverage) == (4, 0.0, 0.0)


def test_a_word_that_no_wordpiece_reads_is_not_learned_from() -> None:
    """It takes time with the square of its length: hours for a megabyte without a space, as data files have them."""
    wordpiece = learn("bert", "wordpiece", [*TEXTS, "g" * 1_000_000, f"abc,{'é' * 300_000}"])
    assert wordpiece.get_vocab() == learn("bert", "wordpiece", [*TEXTS, "abc,"]).get_vocab()


_FOR_EVER = """
import random
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.architectures import TokenizerConfig
from lmstudio_app.models.tokenizers import train_tokenizer
texts = ["".join(random.choices("abcdefghij ", k=16)) for _ in range(300_000)]
train_tokenizer(TokenizerConfig(kind="KIND", vocabulary=50000), texts, JobContext())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a process that is killed with no word to its children")
@pytest.mark.parametrize("kind", ["wordpiece", "unigram"])
def test_learning_ends_with_the_process_that_wanted_it(kind: str) -> None:
    process = subprocess.Popen([sys.executable, "-c", _FOR_EVER.replace("KIND", kind)])
    deadline = time.monotonic() + 60
    workers: list[psutil.Process] = []
    while not workers and time.monotonic() < deadline:
        time.sleep(0.05)
        workers = psutil.Process(process.pid).children()
    time.sleep(0.5)  # it has begun to learn
    assert workers
    assert workers[0].is_running()
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(workers, timeout=3)
    for worker in alive:
        worker.kill()
    assert not alive


def test_a_copied_tokenizer_asks_for_no_other_library(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(build_marian(tmp_path / "marian"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        copied = copy_tokenizer(tokenizer)
    assert copied is not tokenizer
    assert copied("A red bike.")["input_ids"] == tokenizer("A red bike.")["input_ids"]
