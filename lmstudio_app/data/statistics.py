"""What a data set is like: classes, lengths, duplicates, leakage. Vectorised: 60,000 rows take a blink."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa
    from datasets import Dataset

    Integers = npt.NDArray[np.int64]

_EXAMPLES = 5
_BATCH = 512
_WORDS_AT_ONCE = 8192  # texts
_WORD = r"[\p{Han}\p{Hiragana}\p{Katakana}]|[^\s\p{Han}\p{Hiragana}\p{Katakana}]+"


@dataclass(frozen=True)
class Duplicates:
    """``count`` rows repeat the text of an earlier row; ``examples`` are the most frequent texts and their rows."""

    count: int
    examples: tuple[tuple[str, int], ...] = ()
    conflicting: int = 0  # texts that occur with more than one label


@dataclass(frozen=True)
class Leakage:
    """``count`` rows of the evaluation data have a text that is also in the training data."""

    count: int
    examples: tuple[str, ...] = ()


def arrow_column(dataset: Dataset, column: str) -> pa.ChunkedArray:
    """The column as Arrow, in the order of the data set; without a copy unless rows were selected.

    (Reading through ``dataset[:]`` gathers selected rows one by one, which takes minutes for 60,000.)
    """
    whole = dataset.data.table.column(column)
    return whole if dataset._indices is None else whole.take(dataset._indices.column(0))


def normalised(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts as they are compared: Unicode NFKC, lower case, white space as single spaces. Numbers become text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = texts.cast(pa.string())
    texts = pc.utf8_lower(pc.utf8_normalize(texts, form="NFKC"))
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(texts, r"\s+", " "))


def codes(values: pa.ChunkedArray) -> Integers:
    """Equal values get equal numbers, in the order of appearance; missing ones are -1."""
    import numpy as np
    import pyarrow as pa

    encoded = values.dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.unify_dictionaries().combine_chunks()
        if isinstance(encoded, pa.ChunkedArray):  # an empty one does not combine
            encoded = pa.concat_arrays(encoded.chunks) if encoded.num_chunks else pa.array([], pa.int64())
    indices = encoded.indices if hasattr(encoded, "indices") else encoded
    return np.asarray(indices.fill_null(-1).cast("int64").to_numpy(zero_copy_only=False), dtype=np.int64)


def text_codes(columns: Sequence[pa.ChunkedArray]) -> Integers:
    """One number for every distinct combination of normalised texts, counted from 0."""
    import pyarrow as pa

    found = codes(normalised(columns[0]))
    for column in columns[1:]:
        other = codes(normalised(column)) + 1
        pairs = (found + 1) * (int(other.max(initial=0)) + 1) + other
        found = codes(pa.chunked_array([pa.array(pairs)]))
    return found + 1 if (found < 0).any() else found


def missing(column: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """A boolean array: null, NaN, or nothing but white space."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    mask = pc.is_null(column, nan_is_null=True)
    if pa.types.is_string(column.type):
        blank = pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(column)), 0)
        mask = pc.or_kleene(mask, pc.fill_null(blank, True))
    return np.asarray(mask.to_numpy(), dtype=bool)


def first_rows(numbers: Integers) -> tuple[Integers, Integers, Integers]:
    """Of codes counted from 0: the codes that occur, the first row of each, and its number of rows.

    Like ``np.unique``, but without sorting (which holds the interpreter for long).
    """
    import numpy as np

    counts = np.bincount(numbers)
    first = np.zeros(len(counts), dtype=np.int64)
    first[numbers[::-1]] = np.arange(len(numbers) - 1, -1, -1)
    present = np.flatnonzero(counts)
    return present, first[present], counts[present]


def count_values(column: pa.ChunkedArray) -> dict[str, int]:
    """Rows of each value, the most frequent first; missing ones are not counted."""
    import pyarrow.compute as pc

    counts = pc.value_counts(column.drop_null())
    pairs = [(str(item["values"]), int(item["counts"])) for item in counts.to_pylist()]
    return dict(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))


def class_balance(dataset: Dataset, column: str) -> dict[str, int]:
    """Rows of each class, the most frequent first; missing labels are not counted."""
    return count_values(arrow_column(dataset, column))


def find_duplicates(numbers: Integers, texts: pa.ChunkedArray, label: pa.ChunkedArray | None = None) -> Duplicates:
    """``numbers`` are the :func:`text_codes` of the rows, ``texts`` gives the examples."""
    import numpy as np

    if not len(numbers):
        return Duplicates(0)
    counts = np.bincount(numbers)
    repeated = int(np.sum(counts[counts > 1] - 1))
    if not repeated:
        return Duplicates(0)
    most = [int(code) for code in np.argsort(-counts, kind="stable")[:_EXAMPLES] if counts[code] > 1]
    examples = tuple((str(texts[int(np.argmax(numbers == code))]), int(counts[code])) for code in most)
    conflicting = 0
    if label is not None:
        labels = codes(label)
        first_label = np.zeros(len(counts), dtype=np.int64)
        first_label[numbers[::-1]] = labels[::-1]
        is_conflicting = np.zeros(len(counts), dtype=bool)
        is_conflicting[numbers[labels != first_label[numbers]]] = True
        conflicting = int(is_conflicting.sum())
    return Duplicates(repeated, examples, conflicting)


def duplicates(dataset: Dataset, column: str | Sequence[str], label: str | None = None) -> Duplicates:
    """Rows whose (normalised) text occurred before. Several columns are compared together."""
    texts = [arrow_column(dataset, name) for name in ([column] if isinstance(column, str) else column)]
    return find_duplicates(text_codes(texts), texts[0], None if label is None else arrow_column(dataset, label))


def joint_text_codes(sides: Sequence[Sequence[pa.ChunkedArray]]) -> list[Integers]:
    """:func:`text_codes` with the same numbers on every side; each side is its text columns."""
    import numpy as np
    import pyarrow as pa

    joined = [
        pa.chunked_array([chunk for column in columns for chunk in column.cast(pa.string()).chunks], pa.string())
        for columns in zip(*sides, strict=True)
    ]
    return np.split(text_codes(joined), np.cumsum([len(side[0]) for side in sides])[:-1])


def leakage(train: Dataset, evaluation: Dataset, column: str | Sequence[str]) -> Leakage:
    """Evaluation rows whose (normalised) text is also in the training data."""
    import numpy as np

    names = [column] if isinstance(column, str) else column
    texts = [[arrow_column(side, name) for name in names] for side in (train, evaluation)]
    seen, asked = joint_text_codes(texts)
    rows = np.flatnonzero(np.isin(asked, seen))
    return Leakage(len(rows), tuple(str(texts[1][0][int(row)]) for row in rows[:_EXAMPLES]))


def sample_rows(rows: int, sample: int) -> Integers:
    """``sample`` row numbers spread evenly over ``rows``: many files are sorted, so the first ones are not typical."""
    import numpy as np

    if rows <= sample:
        return np.arange(rows, dtype=np.int64)
    return np.linspace(0, rows - 1, sample).astype(np.int64)


def token_lengths(dataset: Dataset, column: str, tokenizer: Any, ctx: JobContext, sample: int = 10_000) -> Integers:
    """Tokens of each text (special tokens counted) of an even sample of the rows, int64 ``[min(rows, sample)]``."""
    import numpy as np
    import pyarrow as pa

    chosen = sample_rows(len(dataset), sample)
    texts = arrow_column(dataset, column).cast(pa.string()).take(pa.array(chosen)).fill_null("").to_pylist()
    backend = getattr(tokenizer, "backend_tokenizer", None)
    lengths: list[int] = []
    for start in range(0, len(texts), _BATCH):
        ctx.check()
        batch = texts[start : start + _BATCH]
        if backend is not None:
            lengths += _fast_lengths(backend, batch)
        else:
            lengths += [len(ids) for ids in tokenizer(batch, truncation=False, verbose=False)["input_ids"]]
    return np.array(lengths, dtype=np.int64)


def _fast_lengths(backend: Any, batch: list[str]) -> list[int]:
    """Lengths by the Rust tokenizer itself: no Python lists of ids are built.

    Truncation and padding that an earlier call left switched on are counted out rather than switched off: the
    tokenizer may be at work in another thread, which may also switch them at any moment. (Nobody here uses a stride.)
    """
    return [
        sum(encoding.attention_mask) + sum(_content(part) for part in encoding.overflowing)
        for encoding in backend.encode_batch_fast(batch)
    ]


def _content(encoding: Any) -> int:
    """Tokens that are neither padding nor special."""
    pairs = zip(encoding.attention_mask, encoding.special_tokens_mask, strict=True)
    return sum(mask and not special for mask, special in pairs)


def word_lengths(dataset: Dataset, column: str, sample: int = 10_000) -> Integers:
    """Words (between white space; Chinese characters and kana count as one each) of an even sample of the texts,
    int64 ``[min(rows, sample)]``: a stand-in for tokens while there is no tokenizer.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    chosen = sample_rows(len(dataset), sample)
    texts = arrow_column(dataset, column).cast(pa.string()).take(pa.array(chosen)).fill_null("")
    counts = pc.count_substring_regex(texts, _WORD)
    return np.asarray(counts.cast("int64").to_numpy(), dtype=np.int64)


def count_words(texts: pa.ChunkedArray, ctx: JobContext) -> int:
    """Words of all the texts together, counted as in :func:`word_lengths`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    words = 0
    for chunk in texts.cast(pa.string()).chunks:
        for start in range(0, len(chunk), _WORDS_AT_ONCE):
            ctx.check()
            words += pc.sum(pc.count_substring_regex(chunk.slice(start, _WORDS_AT_ONCE), _WORD)).as_py() or 0
    return words
