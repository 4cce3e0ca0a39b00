"""Two texts as one model sees them, or one text as two models do: what each head looks at, and what has changed.

Where both models have the same number of layers and of heads in each, head is compared with head. Otherwise the means
over the heads of a layer are compared, and each layer of the model that has fewer with the one of the other that is as
deep for its depth: layer m of M with layer ⌈m N/M⌋ of N, both counted from 1 (Jiao et al. 2020, TinyBERT, choose the
layers to learn from in this way).

Both texts are read layer by layer. Short ones are kept; of long ones the numbers and the small pictures are, and a pair
of layers is read again when somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lmstudio_app.errors import UserError
from lmstudio_app.inspection.arrangement import Arrangement, arrange_side
from lmstudio_app.inspection.attention import (
    AttentionRequest,
    ModelAndTokenizer,
    Prepared,
    no_attention,
    prepare,
)
from lmstudio_app.inspection.attention_store import LayerStore, layer_bytes
from lmstudio_app.inspection.comparison_measures import ChangeGatherer, HeadChange
from lmstudio_app.inspection.comparison_rows import side_of, stream_compared
from lmstudio_app.inspection.reading import KEPT_BYTES
from lmstudio_app.inspection.token_matching import Axis, match_tokens
from lmstudio_app.jobs import JobContext, Meter

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    from lmstudio_app.inspection.attention import Weights

# bytes that the layers of the first text may take, in half precision, while those of the second are read
ROOM = 2 * 2**30
_SHARE = 4  # and at most a quarter of the memory that is free


@dataclass(frozen=True, eq=False)
class Subject:
    """One of the two: a model, and what it reads. All layers and heads are read, whatever ``attention`` says."""

    loaded: ModelAndTokenizer
    attention: AttentionRequest


@dataclass(frozen=True, eq=False)
class ComparisonRequest:
    """The configuration of :func:`read_comparison`."""

    first: Subject
    second: Subject


@dataclass(frozen=True, eq=False)
class LayerPair:
    """``[heads, query, key]`` each, of the tokens that are compared: float32, or float16 where that is large."""

    first: Weights
    second: Weights


@dataclass(frozen=True, eq=False)
class HeadPair:
    """One head, float32 ``[query slot, key slot]`` each; NaN where there is no such token.

    ``difference`` is the second minus the first, of the tokens that both have.
    """

    first: Weights
    second: Weights
    difference: Weights


@dataclass(frozen=True, eq=False)
class Comparison:
    """``layers`` are the numbers of the layers that are compared with each other.

    ``is_paired``: head with head; else a layer has one entry, of the mean over its heads. ``thumbnails`` are float32
    ``[layers, heads, rows, columns]``, signed: of every patch the difference that is farthest from 0. ``kept`` has the
    pairs that are in memory, by their place in ``layers``.
    """

    first: Subject
    second: Subject
    prepared: tuple[Prepared, Prepared]
    queries: Axis
    keys: Axis
    layers: tuple[tuple[int, int], ...]
    is_paired: bool
    thumbnails: npt.NDArray[np.float32]
    changes: tuple[tuple[HeadChange, ...], ...]
    kept: Mapping[int, LayerPair]

    @property
    def heads(self) -> int:
        """How many there are in a layer, at most."""
        return int(self.thumbnails.shape[1])

    @property
    def kind(self) -> str:
        """``encoder``, ``decoder`` or ``cross``."""
        return self.prepared[1].kind

    @property
    def is_whole(self) -> bool:
        return len(self.kept) == len(self.layers)

    def order(self) -> list[tuple[int, int]]:
        """The places (layer, head), those first that have changed most."""
        places = [(row, head) for row, heads in enumerate(self.changes) for head in range(len(heads))]
        return sorted(places, key=lambda place: -self.changes[place[0]][place[1]].divergence)

    def lay_out(self, pair: LayerPair, head: int) -> HeadPair:
        """One head of a pair, its maps laid beside each other."""
        import numpy as np

        found = [
            _spread(weights[head], self.queries, self.keys, which)
            for which, weights in enumerate((pair.first, pair.second))
        ]
        difference = np.full_like(found[0], np.nan)
        common = np.ix_(self.queries.common, self.keys.common)
        difference[common] = found[1][common] - found[0][common]
        return HeadPair(found[0], found[1], difference)


@dataclass(frozen=True, eq=False)
class PairRequest:
    """The configuration of :func:`read_pair`; ``place`` is that of a pair in ``comparison.layers``."""

    comparison: Comparison
    place: int


def read_comparison(request: ComparisonRequest, ctx: JobContext) -> Comparison:
    """Read both, and say how much every head has changed.

    Raises :class:`UserError` as :func:`lmstudio_app.inspection.attention.prepare` and
    :func:`lmstudio_app.inspection.attention.stream` do, and when the two cannot be compared: what they look at is of
    different kinds, or they have no token in common.
    """
    subjects = (request.first, request.second)
    prepared = _prepare(subjects, ctx)
    queries, keys = _axes(subjects, prepared)
    is_paired = all(len(getattr(prepared[0], name)) == len(getattr(prepared[1], name)) for name in ("layers", "heads"))
    wanted = pair_layers(prepared[0].layers, prepared[1].layers)
    reader = _Reader(prepared, queries, keys, is_paired=is_paired)
    reader.read(wanted, ctx)
    places = [place for place in range(len(wanted)) if place in reader.gatherers]
    if not places:
        raise no_attention(prepared[0].layers)
    return Comparison(
        first=request.first,
        second=request.second,
        prepared=prepared,
        queries=queries,
        keys=keys,
        layers=tuple(wanted[place] for place in places),
        is_paired=is_paired,
        thumbnails=_stack([reader.gatherers[place].thumbnails() for place in places]),
        changes=tuple(reader.gatherers[place].result() for place in places),
        kept={number: reader.kept[place] for number, place in enumerate(places) if place in reader.kept},
    )


def read_pair(request: PairRequest, ctx: JobContext) -> LayerPair:
    """The weights of a pair of layers, from memory or from the models."""
    comparison, place = request.comparison, request.place
    if place in comparison.kept:
        return comparison.kept[place]
    found = []
    for which, layer in enumerate(comparison.layers[place]):
        side = side_of(comparison.queries, comparison.keys, which, is_paired=comparison.is_paired)
        store = LayerStore((layer,))
        stream_compared(comparison.prepared[which], (layer,), side, store.receive, ctx)
        ((_, weights),) = store.found()
        found.append(weights)
    return LayerPair(*found)


def pair_layers(first: Sequence[int], second: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Each layer of the model that has fewer, and the one of the other that is as deep for its depth."""
    if len(first) > len(second):
        return tuple((i, j) for j, i in pair_layers(second, first))
    share = len(second) / len(first)
    return tuple((layer, second[int((place + 1) * share + 0.5) - 1]) for place, layer in enumerate(first))


# --- what is compared


def _prepare(subjects: tuple[Subject, Subject], ctx: JobContext) -> tuple[Prepared, Prepared]:
    first, second = (
        prepare(subject.loaded, replace(subject.attention, layers=None, heads=None), ctx) for subject in subjects
    )
    if (first.kind == "cross") != (second.kind == "cross"):
        raise UserError(
            "Attention of the kind {first} cannot be compared with attention of the kind {second}.",
            "Choose the same kind for both.",
            first=first.kind,
            second=second.kind,
        )
    return first, second


def _axes(subjects: tuple[Subject, Subject], prepared: tuple[Prepared, Prepared]) -> tuple[Axis, Axis]:
    one_vocabulary = _have_one_vocabulary(subjects[0].loaded.tokenizer, subjects[1].loaded.tokenizer)

    def match(name: str) -> Axis:
        texts = [_texts(subject, of, name) for subject, of in zip(subjects, prepared, strict=True)]
        first, second = (getattr(of, name) for of in prepared)
        return match_tokens(first, second, (texts[0], texts[1]), one_vocabulary=one_vocabulary)

    queries, keys = match("queries"), match("keys")
    if not (queries.common and keys.common):
        raise UserError(
            "The two have no token in common, so there is nothing to compare.",
            "Choose texts that share words.",
        )
    if queries.by_words != keys.by_words:  # one side happens to be the same pieces: words on both, or rows do not fit
        queries, keys = (axis if axis.by_words else _merged(axis) for axis in (queries, keys))
    return queries, keys


def _merged(axis: Axis) -> Axis:
    """Equal tokens as words."""
    sides = [arrange_side(side.tokens, Arrangement(merge_words=True)) for side in (axis.first, axis.second)]
    places = range(len(sides[0].groups))
    return Axis(sides[0], sides[1], tuple((place, place) for place in places), tuple(places), by_words=True)


def _texts(subject: Subject, prepared: Prepared, name: str) -> tuple[str, ...]:
    """Those that the tokens along an axis are of."""
    is_written = bool(prepared.writes) and (name == "queries" or prepared.kind == "decoder")
    return (prepared.written,) if is_written else (subject.attention.text, subject.attention.pair or "")


def _have_one_vocabulary(first: Any, second: Any) -> bool:
    return first is second or first.get_vocab() == second.get_vocab()


# --- reading


class _Reader:
    """Gathers changes by the place of a pair, and keeps pairs as long as they are small."""

    def __init__(self, prepared: tuple[Prepared, Prepared], queries: Axis, keys: Axis, *, is_paired: bool) -> None:
        import torch

        self._prepared = prepared
        self._queries, self._keys = queries, keys
        self._sides = tuple(side_of(queries, keys, which, is_paired=is_paired) for which in (0, 1))
        self._is_paired = is_paired
        self._columns = tuple(torch.tensor([pair[which] for pair in keys.pairs]) for which in (0, 1))
        self._lines = tuple(torch.tensor([pair[which] for pair in queries.pairs]) for which in (0, 1))
        self.gatherers: dict[int, ChangeGatherer] = {}
        self.kept: dict[int, LayerPair] = {}

    def read(self, wanted: Sequence[tuple[int, int]], ctx: JobContext) -> None:
        keeps, dtype, at_once = self._plan(len(wanted))
        meter = ctx.meter(2 * len(wanted), "layers")
        for start in range(0, len(wanted), at_once):
            places = range(start, min(start + at_once, len(wanted)))
            self._read_group(places, [wanted[place] for place in places], dtype, keeps, meter, ctx)

    def _plan(self, count: int) -> tuple[bool, str, int]:
        """Are all pairs kept, as what, and how many are read at once?"""
        import psutil

        heads = len(self._prepared[0].heads) if self._is_paired else 1
        shapes = [(heads, len(side.rows.groups), len(side.columns.groups)) for side in self._sides]
        for dtype in ("float32", "float16"):
            if count * sum(layer_bytes(*shape, dtype) for shape in shapes) <= KEPT_BYTES:
                return True, dtype, count
        room = min(ROOM, psutil.virtual_memory().available // _SHARE)
        return False, "float16", min(count, max(1, room // layer_bytes(*shapes[0], "float16")))

    def _read_group(
        self,
        places: range,
        pairs: Sequence[tuple[int, int]],
        dtype: str,
        keeps: bool,
        meter: Meter,
        ctx: JobContext,
    ) -> None:
        first_layers, second_layers = (tuple(pair[which] for pair in pairs) for which in (0, 1))
        stores = [LayerStore(layers, dtype) for layers in (first_layers, second_layers)]
        came: set[int] = set()

        def keep(layer: int, start: int, queries: int, weights: torch.Tensor) -> None:
            stores[0].receive(layer, start, queries, weights)
            came.add(layer)
            meter.update(2 * places.start + len(came))

        stream_compared(self._prepared[0], first_layers, self._sides[0], keep, ctx)
        found = dict(stores[0].found())
        by_layer = {pair[1]: (place, found.get(pair[0])) for place, pair in zip(places, pairs, strict=True)}

        def receive(layer: int, start: int, queries: int, weights: torch.Tensor) -> None:
            place, first = by_layer[layer]
            if first is None:  # a layer that does not attend
                return
            if keeps:
                stores[1].receive(layer, start, queries, weights)
            self._compare(place, start, first, weights)
            if start + weights.shape[1] == queries:
                meter.update(places.start + len(places) + place + 1)

        stream_compared(self._prepared[1], second_layers, self._sides[1], receive, ctx)
        if keeps:
            seconds = dict(stores[1].found())
            for layer, (place, first) in by_layer.items():
                if first is not None and layer in seconds:
                    self.kept[place] = LayerPair(first, seconds[layer])

    def _compare(self, place: int, start: int, first: Weights, second: torch.Tensor) -> None:
        """``second`` are rows from ``start`` on; those of them that are common go to the gatherer."""
        import torch

        heads = min(len(first), len(second))  # a layer may have fewer than others
        if place not in self.gatherers:
            self.gatherers[place] = ChangeGatherer(self._queries, self._keys, heads)
        lines = self._lines[1]
        begin, end = (int(torch.searchsorted(lines, value)) for value in (start, start + second.shape[1]))
        rows = range(begin, end)
        before = torch.from_numpy(first)[:heads, self._lines[0][begin:end]]
        after = second[:heads, lines[begin:end] - start]
        if not self._keys.is_same:
            before, after = before[..., self._columns[0]], after[..., self._columns[1]]
        self.gatherers[place].add(rows, before.float(), after.float())


# --- laying out


def _spread(weights: Weights, queries: Axis, keys: Axis, which: int) -> Weights:
    """The weights of a head in their slots."""
    import numpy as np

    rows, columns = (
        [(slot, place[which]) for slot, place in enumerate(axis.slots) if place[which] is not None]
        for axis in (queries, keys)
    )
    spread: Weights = np.full((len(queries), len(keys)), np.nan, dtype=np.float32)
    spread[np.ix_([slot for slot, _ in rows], [slot for slot, _ in columns])] = weights
    return spread


def _stack(pictures: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """A layer may have fewer heads than others."""
    import numpy as np

    heads = max(len(picture) for picture in pictures)
    block = np.zeros((len(pictures), heads, *pictures[0].shape[1:]), dtype=np.float32)
    for row, picture in enumerate(pictures):
        block[row, : len(picture)] = picture
    return block
