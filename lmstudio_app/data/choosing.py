"""Which rows are for evaluation, and which are left out when there are more than wanted.

All of it depends on the rows and the seed alone: the random numbers are SplitMix64 (Steele, Lea, Flood: Fast Splittable
Pseudorandom Number Generators, OOPSLA 2014), the same on every platform and with every library version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmstudio_app.data.reports import MANY_CLASSES
from lmstudio_app.data.statistics import first_rows

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Integers = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]

_RUNS = 8  # places of one long document that are kept for evaluation, if they get this many rows or more:
_SHORTEST_RUN = 32


def splitmix64(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The output function of SplitMix64: uint64 ``[n]`` to uint64 ``[n]``."""
    import numpy as np

    mixed = values * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def random_order(numbers: Integers, seed: int) -> npt.NDArray[np.uint64]:
    """A random number for each of ``numbers``, int64 ``[n]`` to uint64 ``[n]``: sorting by it shuffles."""
    import numpy as np

    start = splitmix64(np.array([(seed + 1) % 2**64], dtype=np.uint64))[0]
    return splitmix64(numbers.astype(np.uint64) + np.uint64(1) ^ start)


def _take(members: Integers, order: npt.NDArray[np.uint64], sizes: Integers, target: float) -> Integers:
    """So many of ``members``, shuffled, that their sizes come as near to ``target`` as they can; at least one."""
    import numpy as np

    members = members[np.argsort(order[members], kind="stable")]
    filled = np.cumsum(sizes[members])
    count = int(np.searchsorted(filled, target, side="left")) + 1
    if 1 < count <= len(filled) and filled[count - 1] - target > target - filled[count - 2]:
        count -= 1
    return members[:count]


def choose_evaluation(texts: Integers, strata: Integers | None, fraction: float, seed: int) -> Mask:
    """Boolean array over the rows: which are for evaluation.

    ``texts`` int64 ``[rows]``: rows of equal numbers form a unit that is never divided. Within each class (``strata``,
    int64 ``[rows]``, that of the unit's first row) the units are shuffled and taken until ``fraction`` is reached.
    """
    import numpy as np

    if not len(texts):
        return np.zeros(0, dtype=bool)
    present, first, sizes = first_rows(texts)
    classes = np.zeros(len(first), dtype=np.int64) if strata is None else strata[first]
    if int(classes.max()) > MANY_CLASSES:  # numbers rather than classes
        classes = np.zeros_like(classes)
    order = random_order(first, seed)
    chosen = np.zeros(len(first), dtype=bool)
    for stratum in range(int(classes.min()), int(classes.max()) + 1):
        members = np.flatnonzero(classes == stratum)
        if len(members) < 2:  # none: a label that only occurs with texts that had another one before
            continue
        taken = _take(members, order, sizes, fraction * int(sizes[members].sum()))
        chosen[taken[: len(members) - 1]] = True
    if not chosen.any() and len(chosen) > 1:
        chosen[np.argmin(order)] = True
    by_code = np.zeros(int(present[-1]) + 1, dtype=bool)
    by_code[present] = chosen
    return by_code[texts]


def choose_documents(documents: Integers, fraction: float, seed: int) -> Mask:
    """Boolean array over the rows of running text: which are for evaluation.

    ``documents`` int64 ``[rows]``, never falling. Whole documents are taken, in a shuffled order, until ``fraction`` of
    the rows is reached. Where a document is all there is, or none is as small as the part, runs of rows are taken.
    """
    import numpy as np

    if not len(documents):
        return np.zeros(0, dtype=bool)
    target = fraction * len(documents)
    begins = np.flatnonzero(np.diff(documents, prepend=documents[0] - 1))
    sizes = np.diff(np.append(begins, len(documents)))
    small = np.flatnonzero(sizes <= max(target, 1))
    if len(begins) < 2 or int(sizes[small].sum()) < 0.5 * target:
        length = max(round(target / _RUNS), min(round(target), _SHORTEST_RUN), 2 if len(documents) > 3 else 1)
        begins = np.arange(0, len(documents), length)
        sizes = np.diff(np.append(begins, len(documents)))
        small = np.arange(len(begins))
    taken = _take(small, random_order(begins, seed), sizes, target)
    chosen = np.zeros(len(begins), dtype=bool)
    chosen[taken[: len(begins) - 1]] = True
    return np.repeat(chosen, sizes)


def number_pieces(documents: Integers, chosen: Mask) -> Integers:
    """New numbers of the documents, int64 ``[rows]``: one that was cut into runs of rows is several from now on."""
    import numpy as np

    if not len(documents):
        return documents
    changes = (documents[1:] != documents[:-1]) | (chosen[1:] != chosen[:-1])
    return np.concatenate([[0], np.cumsum(changes)]).astype(np.int64)


def sample_evenly(rows: int, limit: int, seed: int) -> Integers:
    """``limit`` of ``rows`` row numbers in their order: one at random out of each of as many equal stretches."""
    import numpy as np

    if rows <= limit:
        return np.arange(rows, dtype=np.int64)
    edges = np.arange(limit + 1, dtype=np.int64) * rows // limit
    random = random_order(edges[:-1], seed) % np.diff(edges).astype(np.uint64)
    return edges[:-1] + random.astype(np.int64)
