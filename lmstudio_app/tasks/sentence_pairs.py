"""Pairs of text segments for next-sentence prediction (Devlin et al. 2019, section 3.1 and appendix A.2).

A *piece* is a run of whole sentences of one document that fills one example. Which pair becomes of it is drawn anew
each time it is seen: where it is cut into A and B, whether B is the true one or comes from another document, and
whether the example is a short one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

SHORT = 0.1  # share of the examples that are short, so that the model knows such texts too
SPECIAL = 3  # [CLS] A [SEP] B [SEP]


@dataclass(frozen=True)
class Piece:
    """``tokens`` int ``[length]`` without special ones; sentences lie between ``bounds``, int ``[sentences + 1]``."""

    tokens: np.ndarray
    bounds: np.ndarray
    document: int
    number: int

    @classmethod
    def of(cls, feature: Mapping[str, Any]) -> Piece:
        import numpy as np

        bounds = np.concatenate([[0], np.cumsum(np.asarray(feature["sentences"], dtype=np.int64))])
        return cls(np.asarray(feature["input_ids"]), bounds, int(feature["document"]), int(feature["piece"]))

    @property
    def sentences(self) -> int:
        return len(self.bounds) - 1

    def part(self, begin: int, end: int) -> np.ndarray:
        return self.tokens[self.bounds[begin] : self.bounds[end]]


def cut_pieces(lengths: Sequence[int], budget: int, first: int) -> list[tuple[int, int]]:
    """Runs of whole sentences, as (begin, end), of at most ``budget`` tokens where two sentences fit.

    ``lengths`` counts the tokens of a document's sentences. The first run has at most ``first`` tokens, so that another
    value shifts all of them. Every run has two sentences or more; a last single one joins the run before it.
    """
    runs: list[tuple[int, int]] = []
    begin = size = 0
    limit = first
    for index, length in enumerate(lengths):
        if index - begin >= 2 and size + length > limit:
            runs.append((begin, index))
            begin, size, limit = index, 0, budget
        size += length
    if len(lengths) - begin >= 2:
        runs.append((begin, len(lengths)))
    elif runs and len(lengths) > begin:
        runs[-1] = (runs[-1][0], len(lengths))
    return runs


def draw_pair(
    index: int, pieces: Sequence[Piece], budget: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Segments A and B of piece ``index`` of a batch, and whether B follows A; in half of the cases it does.

    Another B comes from a piece of another document in the batch; where there is none, from one of the same document
    that is no neighbour; where there is none either, A and B change places. It is cut off its piece as a true one is,
    at a sentence, and of all that the batch offers it is the nearest in length to the true one, so that nothing but its
    content gives it away.
    """
    piece = pieces[index]
    begin, end = 0, piece.sentences
    if random.random() < SHORT and piece.sentences > 2:
        begin = int(random.integers(0, end - 1))
        end = int(random.integers(begin + 2, end + 1))
    cut = int(random.integers(begin + 1, end))
    first, second = piece.part(begin, cut), piece.part(cut, end)
    follows = bool(random.random() < 0.5)
    if not follows:
        others = [other for other in pieces if other.document != piece.document]
        others = others or [o for o in pieces if o.document == piece.document and abs(o.number - piece.number) > 1]
        if others:
            second = _end_of_one(others, len(second), random)
        else:
            first, second = second, first
    return *_fitted(first, second, budget), follows


def _end_of_one(pieces: Sequence[Piece], wanted: int, random: np.random.Generator) -> np.ndarray:
    """The last sentences of a piece, one or more but not all, with as nearly ``wanted`` tokens as there is.

    Of equally near ones each has the chance with which it becomes a true B, 1 / (sentences - 1) for its piece's: else
    a B out of many short sentences, and so its source, would be a hint.
    """
    import numpy as np

    cuts = np.array([piece.sentences - 1 for piece in pieces])
    sizes = np.concatenate([piece.bounds[-1] - piece.bounds[1:-1] for piece in pieces])
    owners = np.repeat(np.arange(len(pieces)), cuts)
    distance = np.abs(sizes - wanted)
    nearest = np.flatnonzero(distance == distance.min())
    # the largest of random numbers to the power 1 / weight (Efraimidis and Spirakis 2006)
    lots = random.random(len(nearest)) ** cuts[owners[nearest]]
    chosen = nearest[int(lots.argmax())]
    return pieces[int(owners[chosen])].tokens[-int(sizes[chosen]) :]


def _fitted(first: np.ndarray, second: np.ndarray, budget: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut the longer one (A at its beginning, B at its end: the seam stays) until both fit."""
    if len(first) + len(second) <= budget:
        return first, second
    kept = min(len(first), max(budget - len(second), budget // 2))
    return first[len(first) - kept :], second[: budget - kept]
