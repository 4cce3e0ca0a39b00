"""How well a tokenizer fits texts: what it cannot read, how finely it cuts, and what that looks like."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lmstudio_app.jobs import JobContext

# a character of a script without spaces is a word of its own, as is everything between two spaces
_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7af]|[^\s\u3040-\u9fff\uac00-\ud7af]+"
)
_SAMPLE_CHARACTERS = 300


@dataclass(frozen=True)
class TokenizerReport:
    """``coverage`` is the share of the words without an unknown piece, ``character_coverage`` that of their characters.

    ``samples`` are some texts and the tokens that they become, special tokens included.
    """

    vocabulary: int
    texts: int
    words: int
    coverage: float
    character_coverage: float
    tokens_per_word: float
    samples: tuple[tuple[str, tuple[str, ...]], ...]
    unknown_words: tuple[str, ...] = ()  # the most frequent ones, at most 20


def tokenizer_report(
    tokenizer: Any, texts: Iterable[str], ctx: JobContext | None = None, *, samples: int = 5
) -> TokenizerReport:
    """Go through ``texts`` once (a few thousand are plenty). Every different word is cut only once."""
    ctx = ctx or JobContext()
    counts: Counter[str] = Counter()
    first: list[str] = []
    seen = 0
    for text in texts:
        ctx.check()
        seen += 1
        if len(first) < samples and text.strip():
            first.append(" ".join(text[:_SAMPLE_CHARACTERS].split()))
        counts.update(_WORD.findall(text))
    words = characters = known_words = known_characters = tokens = 0
    unknown: Counter[str] = Counter()
    for number, (word, count) in enumerate(counts.items()):
        if number % 256 == 0:
            ctx.check()
        ids = tokenizer(word, add_special_tokens=False)["input_ids"]
        is_known = tokenizer.unk_token_id is None or tokenizer.unk_token_id not in ids
        words += count
        characters += count * len(word)
        tokens += count * len(ids)
        if is_known:
            known_words += count
            known_characters += count * len(word)
        else:
            unknown[word] = count
    return TokenizerReport(
        vocabulary=len(tokenizer),
        texts=seen,
        words=words,
        coverage=known_words / words if words else 1.0,
        character_coverage=known_characters / characters if characters else 1.0,
        tokens_per_word=tokens / words if words else 0.0,
        samples=tuple((text, tuple(show_tokens(tokenizer, text))) for text in first),
        unknown_words=tuple(word for word, _ in unknown.most_common(20)),
    )


def show_tokens(tokenizer: Any, text: str) -> list[str]:
    """The tokens of ``text`` as the tokenizer names them, special tokens included."""
    tokens: list[str] = tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])
    return tokens
