"""Which tokens of a map are shown: special ones hidden, pieces of a word merged, and the way back to the own tokens.

Attention between words after K. Clark et al. 2019, "What Does BERT Look At?", section 4.1: attention to a word is the
sum over its pieces, attention from a word the mean over its pieces, so that what a word gives away still makes 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from lmstudio_app.inspection.scales import widened
from lmstudio_app.inspection.tokens import Tokens

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Weights = npt.NDArray[np.float32]

Cell = tuple[int, int]  # query, key
Groups = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Arrangement:
    hide_special: bool = False
    merge_words: bool = False


@dataclass(frozen=True, eq=False)
class Side:
    """One axis as it is shown.

    ``groups`` are the places of the own tokens that each shown one stands for; ``places`` is where each own token is
    shown, None for one that is hidden.
    """

    tokens: Tokens
    groups: Groups
    places: tuple[int | None, ...]

    @property
    def is_whole(self) -> bool:
        """Is every token shown by itself?"""
        return len(self.groups) == len(self.places)


@dataclass(frozen=True, eq=False)
class Arranged:
    """``weights`` are float32 ``[query, key]`` of the shown tokens.

    Where special tokens are hidden the others keep their weights: a row no longer sums to 1.
    """

    weights: Weights
    rows: Side
    columns: Side

    @property
    def queries(self) -> Tokens:
        return self.rows.tokens

    @property
    def keys(self) -> Tokens:
        return self.columns.tokens

    @property
    def query_groups(self) -> Groups:
        return self.rows.groups

    @property
    def key_groups(self) -> Groups:
        return self.columns.groups

    def shown(self, cell: Cell | None) -> Cell | None:
        """Where a cell of the own tokens is shown; None when one of them is hidden, or for None."""
        if cell is None or not (0 <= cell[0] < len(self.rows.places) and 0 <= cell[1] < len(self.columns.places)):
            return None
        query, key = self.rows.places[cell[0]], self.columns.places[cell[1]]
        return None if query is None or key is None else (query, key)

    def own(self, cell: Cell | None) -> Cell | None:
        """The cell of the own tokens that a shown one begins with."""
        return None if cell is None else (self.query_groups[cell[0]][0], self.key_groups[cell[1]][0])


def arrange(weights: Weights, queries: Tokens, keys: Tokens, arrangement: Arrangement) -> Arranged:
    """Of float32 (or float16) ``[query, key]``; where nothing is to be done, the same array comes back."""
    import numpy as np

    rows, columns = arrange_side(queries, arrangement), arrange_side(keys, arrangement)
    if not rows.is_whole:
        counts = np.array([len(group) for group in rows.groups], dtype=np.float32)
        weights = _gathered(weights, rows.groups, 0) / counts[:, None]
    if not columns.is_whole:
        weights = _gathered(weights, columns.groups, 1)
    return Arranged(weights, rows, columns)


@lru_cache(maxsize=16)
def arrange_side(tokens: Tokens, arrangement: Arrangement) -> Side:
    """Group the tokens of one axis. Where there are none but special ones, they stay."""
    hide = arrangement.hide_special and not all(tokens.special)
    kept = [index for index in range(len(tokens)) if not (hide and tokens.special[index])]
    groups: list[list[int]] = []
    for index in kept:
        if arrangement.merge_words and groups and _is_same_word(tokens, groups[-1][-1], index):
            groups[-1].append(index)
        else:
            groups.append([index])
    places: list[int | None] = [None] * len(tokens)
    for place, group in enumerate(groups):
        for index in group:
            places[index] = place
    frozen = tuple(tuple(group) for group in groups)
    shown = tokens if len(groups) == len(tokens) else _merged(tokens, frozen)
    return Side(shown, frozen, tuple(places))


def _is_same_word(tokens: Tokens, first: int, second: int) -> bool:
    word = tokens.words[first]
    return (
        second == first + 1
        and word is not None
        and word == tokens.words[second]
        and tokens.segments[first] == tokens.segments[second]
    )


def _gathered(weights: Weights, groups: Groups, axis: int) -> Weights:
    """The sum over each group, float32."""
    import numpy as np

    order = np.array([index for group in groups for index in group])
    picked = np.take(widened(weights), order, axis=axis)
    if len(order) == len(groups):
        return picked
    starts = np.cumsum([0, *(len(group) for group in groups[:-1])])
    summed: Weights = np.add.reduceat(picked, starts, axis=axis)
    return summed


def _merged(tokens: Tokens, groups: Groups) -> Tokens:
    return Tokens(
        tokens=tuple(_joined([tokens.tokens[index] for index in group]) for group in groups),
        labels=tuple(_word(tokens, group) for group in groups),
        special=tuple(tokens.special[group[0]] for group in groups),
        segments=tuple(tokens.segments[group[0]] for group in groups),
        words=tuple(tokens.words[group[0]] for group in groups),
        spans=tuple(_span(tokens, group) for group in groups),
    )


def _joined(pieces: Sequence[str]) -> str:
    return pieces[0] + "".join(piece.removeprefix("##") for piece in pieces[1:])


def _word(tokens: Tokens, group: tuple[int, ...]) -> str:
    """What a person reads: every piece once, also where several are parts of one character."""
    pieces: list[str] = []
    end = -1
    for index in group:
        span = tokens.spans[index]
        if span is not None and pieces and span[1] <= end:
            continue
        end = span[1] if span is not None else end
        pieces.append(tokens.labels[index])
    return _joined(pieces)


def _span(tokens: Tokens, group: tuple[int, ...]) -> tuple[int, int] | None:
    spans = [span for index in group if (span := tokens.spans[index]) is not None]
    return (min(start for start, _ in spans), max(end for _, end in spans)) if spans else None
