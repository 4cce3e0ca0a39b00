"""The words of a text as the full-text index takes them, and a query of them.

SQLite's FTS5 does the counting (BM25) and the stemming; it is kept up to date in the same transaction as the passages,
which an index of our own would have to learn. It takes a run of Chinese or Japanese characters for one word, though,
and its trigrams find no word of two characters, of which most Chinese words are. So such runs are given to it as pairs
of neighbouring characters (bigrams, the usual unit of Chinese retrieval: Nie et al., 2000), and Latin words stay whole.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

# what FTS5 does with the words it is given: English stems (Porter, 1980), no accents
TOKENIZER = "porter unicode61 remove_diacritics 2"
_CHINESE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_CHINESE}]+|[^\W_{_CHINESE}]+")
_LONGEST_WORD = 64  # characters; what is longer is no word
_MOST_WORDS = 64  # of a question
_STEM = 6  # letters
# Words that say how something is asked, and nothing of what: every passage has some of them.
_STOP_WORDS = frozenset(
    re.findall(
        r"\S+",
        "a about an and any are as at be been being but by can could did do does for from had has have he her his how "
        "i if in into is it its may me my of on or our she should so some than that the their them then there these "
        "they this those to was we were what when where which who whom whose why will with would you your",
    )
)


def index_text(text: str) -> str:
    """The words of a passage with spaces between them."""
    return " ".join(_words(text))


def query(question: str) -> str:
    """An FTS5 query for any of the question's words; empty when it has none.

    Words such as "what" and "the" are left out, unless there are no others.
    """
    return " OR ".join(f'"{word}"{"*" if _is_lone(word) else ""}' for word in _telling(question))


def coverage(question: str, text: str) -> float:
    """How many of the question's words, as a share, are in the text; words count as equal when their beginnings are."""
    asked = {_stem(word) for word in _telling(question)}
    return len(asked & {_stem(word) for word in _words(text)}) / max(1, len(asked))


def _stem(word: str) -> str:
    """Without the s of a plural, and cut: enough to compare words with, where no index does it."""
    return (word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word)[:_STEM]


def _telling(question: str) -> list[str]:
    words = list(dict.fromkeys(_words(question)))
    return ([word for word in words if word not in _STOP_WORDS] or words)[:_MOST_WORDS]


def _is_lone(word: str) -> bool:
    """One Chinese character: it stands in the index as the beginning of pairs."""
    return len(word) == 1 and re.match(f"[{_CHINESE}]", word) is not None


def _words(text: str) -> Iterator[str]:
    for found in _WORD.finditer(unicodedata.normalize("NFKC", text).lower()):
        word = found[0]
        if not re.match(f"[{_CHINESE}]", word):
            yield word[:_LONGEST_WORD]
        elif len(word) == 1:
            yield word
        else:
            yield from (word[index : index + 2] for index in range(len(word) - 1))
