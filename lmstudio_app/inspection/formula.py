"""The formula of one head with its own numbers: softmax(QKᵀ·s + B + M) V (Vaswani et al. 2017, equation 1).

Queries, keys and values are the model's, as it hands them to its attention function. Everything after that is worked
out here again, in numpy and in 64 bits, and held against the weights that the model itself makes of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lmstudio_app.errors import UserError
from lmstudio_app.inspection.attention import AttentionRequest, ModelAndTokenizer, prepare, stream
from lmstudio_app.inspection.capture import AttentionCall, Complete
from lmstudio_app.inspection.tokens import Tokens
from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    Numbers = npt.NDArray[np.float32]
    Wide = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.bool_]

CELLS = 2**20
"""Scores that are shown at once: 1,024 tokens × 1,024. Of a longer text only some queries are, against all keys."""

_HIDES = -6e4  # models add the lowest number of their precision, -65,504 in float16; nothing else is so low


@dataclass(frozen=True, eq=False)
class FormulaRequest:
    """``attention`` says of what text; ``layer`` and ``head`` count from 0.

    ``around`` is a query that is to be seen when the text is too long for all of them.
    """

    loaded: ModelAndTokenizer
    attention: AttentionRequest
    layer: int
    head: int
    around: int = 0


@dataclass(frozen=True, eq=False)
class HeadFormula:
    """One head's attention; a row for each query of ``rows``, a column for each key.

    ``key_head`` is the head that keys and values come from: in grouped-query attention (Ainslie et al. 2023) all query
    heads of ``sharers`` use it. ``mask`` is True where a query may not look. ``softcap`` c turns a score x into
    c·tanh(x/c) (Gemma 2). ``sink`` is a learned score of nothing at all, which takes its share of every row (gpt-oss).
    ``bias`` is what the place of the tokens adds to a score (T5).
    """

    kind: str  # "encoder", "decoder" or "cross"
    layer: int
    head: int
    key_head: int
    sharers: range
    queries: Tokens  # all of them
    keys: Tokens
    rows: range  # the queries that are here
    query: Numbers  # [row, d_k]
    key: Numbers  # [key, d_k]
    value: Numbers  # [key, d_v]
    scale: float
    scores: Numbers  # [row, key]: QKᵀ·scale
    softcap: float | None
    bias: Numbers | None  # [row, key]
    mask: Flags  # [row, key]
    sink: float | None
    weights: Numbers  # [row, key], worked out here
    output: Numbers  # [row, d_v]: weights·V
    own_weights: Numbers  # [row, key], the model's
    largest_difference: float  # between the two

    @property
    def is_whole(self) -> bool:
        return len(self.rows) == len(self.queries)

    @property
    def is_shared(self) -> bool:
        return len(self.sharers) > 1

    @property
    def is_usual_scale(self) -> bool:
        """Is it 1/√d_k, as in the paper?"""
        return bool(abs(self.scale * self.key.shape[1] ** 0.5 - 1) < 1e-6)

    @property
    def looks_back_only(self) -> bool:
        """No token sees one that comes later."""
        import numpy as np

        later = np.arange(self.mask.shape[1])[None] > np.asarray(self.rows)[:, None]
        return self.kind != "cross" and bool(later.any()) and bool(self.mask[later].all())

    @property
    def reach(self) -> int | None:
        """How many tokens away a query may look at most, when that is less than the text is long (sliding window)."""
        import numpy as np

        if self.kind == "cross" or not self.mask.any():
            return None
        distances = np.asarray(self.rows)[:, None] - np.arange(self.mask.shape[1])[None]
        back = int(distances[~self.mask].max(initial=0))
        return back if back < self.rows[-1] else None


@dataclass(frozen=True, eq=False)
class CellExplanation:
    """How one weight came about, from the products of query and key to its share of the row.

    ``numerator`` is e^(logit − the row's largest logit), which keeps the exponential small and changes no share;
    ``row_sum`` is the sum of all numerators of the row, the sink's included.
    """

    query: int
    key: int
    products: Wide  # [d_k]
    dot: float
    scaled: float
    capped: float | None
    bias: float | None
    is_hidden: bool
    logit: float  # what goes into the softmax; meaningless when the cell is hidden
    largest_logit: float
    numerator: float
    row_sum: float
    weight: float


def read_formula(request: FormulaRequest, ctx: JobContext) -> HeadFormula:
    """Run the model up to ``request.layer`` and work the head out again.

    Raises :class:`UserError` as :func:`lmstudio_app.inspection.attention.read_attention` does, for a head that is not
    there, and for a model that does not hand over its queries and keys.
    """
    gatherer = _Gatherer(request)
    kind, queries, keys = _run(request, gatherer, ctx)
    if gatherer.call is None or gatherer.own is None:
        raise UserError(
            "A model of the kind {kind} does not show the queries and keys it works with.",
            "Choose another model, such as BERT, RoBERTa, GPT-2 or Llama.",
            kind=request.loaded.model.config.model_type,
        )
    ctx.check()
    return _work_out(request, gatherer.call, gatherer.rows, gatherer.own, (kind, queries, keys))


def explain_cell(formula: HeadFormula, query: int, key: int) -> CellExplanation:
    """Raises ``IndexError`` for a query that is not among ``formula.rows``, or a key that is not there."""
    import numpy as np

    if query not in formula.rows or not 0 <= key < len(formula.keys):
        raise IndexError((query, key))
    row = formula.rows.index(query)
    asked = formula.query[row].astype(np.float64)
    products = asked * formula.key[key].astype(np.float64)
    bias = None if formula.bias is None else formula.bias[row : row + 1]
    hidden = formula.mask[row : row + 1]
    scores = asked[None] @ formula.key.astype(np.float64).T * formula.scale
    logits = _logits(scores, formula.softcap, bias)
    largest, numerators, total = _softmax_parts(logits, hidden, formula.sink)
    dot = float(products.sum())
    scaled = dot * formula.scale
    return CellExplanation(
        query=query,
        key=key,
        products=products,
        dot=dot,
        scaled=scaled,
        capped=None if formula.softcap is None else formula.softcap * float(np.tanh(scaled / formula.softcap)),
        bias=None if bias is None else float(bias[0, key]),
        is_hidden=bool(hidden[0, key]),
        logit=float(logits[0, key]),
        largest_logit=float(largest[0, 0]),
        numerator=float(numerators[0, key]),
        row_sum=float(total[0, 0]),
        weight=float(numerators[0, key] / total[0, 0]),
    )


class _Gatherer:
    """Keeps what one head of the layer is given, and the rows of its weights that are wanted."""

    def __init__(self, request: FormulaRequest) -> None:
        self._request = request
        self.call: AttentionCall | None = None
        self.rows = range(0)
        self.own: Numbers | None = None

    def tell(self, call: AttentionCall) -> None:
        heads, queries, keys = call.query.shape[1], call.query.shape[2], call.key.shape[2]
        if not 0 <= self._request.head < heads:
            raise UserError(
                "There is no head {head}.",
                "Choose a head from {first} to {last}.",
                head=self._request.head,
                first=0,
                last=heads - 1,
            )
        self.call = call
        self.rows = _rows_around(self._request.around, queries, keys)

    def receive(self, layer: int, start: int, queries: int, weights: torch.Tensor) -> None:
        import numpy as np

        rows = self.rows
        if self.call is None:  # there is nothing to hold these weights against
            return
        if self.own is None:
            self.own = np.empty((len(rows), weights.shape[2]), dtype=np.float32)
        first, last = max(start, rows.start), min(start + weights.shape[1], rows.stop)
        if first < last:
            part = weights[self._request.head, first - start : last - start]
            self.own[first - rows.start : last - rows.start] = part.cpu().numpy()
        if last == rows.stop:
            raise Complete  # the rows below cost as much again, and are not asked for


def _rows_around(around: int, queries: int, keys: int) -> range:
    """All queries, or as many as the budget lets be seen at once, ``around`` in their middle."""
    count = min(queries, max(1, CELLS // keys))
    start = min(max(0, around - count // 2), queries - count)
    return range(start, start + count)


def _run(request: FormulaRequest, gatherer: _Gatherer, ctx: JobContext) -> tuple[str, Tokens, Tokens]:
    """The kind of attention, and the tokens on both sides."""
    prepared = prepare(request.loaded, replace(request.attention, layers=(request.layer,), heads=None), ctx)
    stream(prepared, gatherer.receive, ctx, gatherer.tell)
    return prepared.kind, prepared.queries, prepared.keys


# --- the formula


def _work_out(
    request: FormulaRequest,
    call: AttentionCall,
    rows: range,
    own: Numbers,
    named: tuple[str, Tokens, Tokens],
) -> HeadFormula:
    import numpy as np

    heads, key_heads = call.query.shape[1], call.key.shape[1]
    group = heads // key_heads
    key_head = request.head // group
    query = _numbers(call.query[0, request.head, rows.start : rows.stop])
    key, value = _numbers(call.key[0, key_head]), _numbers(call.value[0, key_head])
    scale = call.options.get("scaling")
    scale = query.shape[1] ** -0.5 if scale is None else float(scale)
    softcap = call.options.get("softcap")
    hidden, bias = _hidden_and_bias(call, request.head, rows)
    sink = _sink(call, request.head)
    scores = query.astype(np.float64) @ key.astype(np.float64).T * scale
    _, numerators, total = _softmax_parts(_logits(scores, softcap, bias), hidden, sink)
    weights = numerators / total
    kind, queries, keys = named
    return HeadFormula(
        kind=kind,
        layer=request.layer,
        head=request.head,
        key_head=key_head,
        sharers=range(key_head * group, (key_head + 1) * group),
        queries=queries,
        keys=keys,
        rows=rows,
        query=query,
        key=key,
        value=value,
        scale=scale,
        scores=scores.astype(np.float32),
        softcap=None if softcap is None else float(softcap),
        bias=bias,
        mask=hidden,
        sink=sink,
        weights=weights.astype(np.float32),
        output=(weights @ value.astype(np.float64)).astype(np.float32),
        own_weights=own,
        largest_difference=float(np.abs(weights - own).max()),
    )


def _logits(scores: Wide, softcap: float | None, bias: Numbers | None) -> Wide:
    import numpy as np

    capped: Wide = scores if softcap is None else softcap * np.tanh(scores / softcap)
    return capped if bias is None else capped + bias


def _softmax_parts(logits: Wide, hidden: Flags, sink: float | None) -> tuple[Wide, Wide, Wide]:
    """The largest logit ``[row, 1]``, the numerators ``[row, key]`` and their sum ``[row, 1]``.

    A row that sees nothing looks everywhere alike, as it does in the models, which add a very low number.
    """
    import numpy as np

    masked = np.where(hidden & ~hidden.all(axis=1, keepdims=True), -np.inf, np.where(hidden, 0.0, logits))
    largest: Wide = masked.max(axis=1, keepdims=True)
    if sink is not None:
        largest = np.maximum(largest, sink)
    numerators: Wide = np.exp(masked - largest)
    total: Wide = numerators.sum(axis=1, keepdims=True)
    if sink is not None:
        total = total + np.exp(sink - largest)
    return largest, numerators, total


def _hidden_and_bias(call: AttentionCall, head: int, rows: range) -> tuple[Flags, Numbers | None]:
    """Models add to the scores what hides a cell, a very low number, and what its place is worth."""
    import numpy as np
    import torch

    keys = call.key.shape[2]
    hidden = torch.zeros(len(rows), keys, dtype=torch.bool)
    bias = torch.zeros(len(rows), keys)
    for added in (call.mask, call.options.get("position_bias")):
        if added is None:
            continue
        own = added[0, head if added.shape[1] > 1 else 0]
        part = (own[rows.start : rows.stop] if own.shape[0] > 1 else own)[:, :keys].cpu()
        if part.dtype == torch.bool:
            hidden |= ~part
            continue
        low = part <= _HIDES
        hidden |= low
        bias += part.float().masked_fill(low, 0.0)
    return np.asarray(hidden.numpy()), _numbers(bias) if bool(bias.any()) else None


def _sink(call: AttentionCall, head: int) -> float | None:
    sinks: Any = getattr(call.module, "sinks", None)
    if sinks is None:
        sinks = call.options.get("sinks", call.options.get("s_aux"))
    return None if sinks is None else float(sinks.detach().reshape(-1)[head])


def _numbers(tensor: torch.Tensor) -> Numbers:
    numbers: Numbers = tensor.detach().float().cpu().numpy()
    return numbers.copy()
