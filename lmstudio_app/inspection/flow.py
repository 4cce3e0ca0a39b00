"""Attention flow: how much could flow from a token of a layer down to each token of the text.

The layers are a network: a node for each token below and above every layer, and an edge from a token above a layer to
each one below it, as wide as A = 0.5 W + 0.5 I says (see :mod:`lmstudio_app.inspection.rollout`). How much can flow
from one node above the last layer to one token at the bottom is a maximum flow (Abnar and Zuidema 2020, section 3). As
in the authors' program, the flows from one token are then scaled to sum to 1.

It is found exactly, by Dinic's algorithm, with widths rounded to 2⁻²⁹.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.libraries import load_modules

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Matrix = npt.NDArray[np.float32]

WORK_LIMIT = 2 * 10**9  # edges times flows: about half a minute on one core
_UNIT = 2**29  # the library counts in whole numbers of 32 bits
_MODULES = ("scipy.sparse", "scipy.sparse.csgraph")


def require_affordable(layers: int, tokens: int, sources: int) -> None:
    """Raises :class:`UserError` when the flows from ``sources`` tokens to all ``tokens`` would take too long."""
    if _work(layers, tokens, sources) <= WORK_LIMIT:
        return
    longest = max((count for count in range(tokens) if _work(layers, count, count) <= WORK_LIMIT), default=0)
    longest_alone = max((count for count in range(tokens) if _work(layers, count, 1) <= WORK_LIMIT), default=0)
    if _work(layers, tokens, 1) <= WORK_LIMIT:
        raise UserError(
            "Attention flow between all {tokens} tokens through {layers} layers takes too long: the limit is {limit}.",
            "Choose the one token that it is to start from, fewer layers, or attention rollout.",
            tokens=tokens,
            layers=layers,
            limit=longest,
        )
    raise UserError(
        "Attention flow through {layers} layers takes too long for {tokens} tokens: the limit is {limit}.",
        "Take a shorter text, fewer layers, or attention rollout.",
        tokens=tokens,
        layers=layers,
        limit=longest_alone,
    )


def _work(layers: int, tokens: int, sources: int) -> int:
    """Edges times flows."""
    return layers * tokens * tokens * sources * tokens


def attention_flow(matrices: Sequence[Matrix], sources: Sequence[int], ctx: JobContext) -> Matrix:
    """Float32 ``[source, token]``, rows sum to 1.

    ``matrices`` are the layers' A from the lowest on, ``[query, key]`` each; ``sources`` are places above the last one.
    """
    load_modules(_MODULES, ctx)
    import numpy as np
    from scipy.sparse.csgraph import maximum_flow

    network = _network(matrices)
    tokens, top = len(matrices[0]), len(matrices) * len(matrices[0])
    flows = np.zeros((len(sources), tokens))
    meter = ctx.meter(len(sources) * tokens, "flows")
    done = 0
    for row, source in enumerate(sources):
        for token in range(tokens):
            meter.update(done)
            flows[row, token] = maximum_flow(network, top + source, token, method="dinic").flow_value
            done += 1
    meter.update(done)
    shares: Matrix = (flows / np.maximum(flows.sum(axis=1, keepdims=True), 1)).astype(np.float32)
    return shares


def _network(matrices: Sequence[Matrix]) -> object:
    """A sparse matrix of whole numbers; node ``l * tokens + i`` is token i above layer l, the first tokens the text."""
    import numpy as np
    from scipy.sparse import csr_array

    tokens = len(matrices[0])
    rows, columns, widths = [], [], []
    for level, matrix in enumerate(matrices):
        units = np.rint(matrix.astype(np.float64) * _UNIT).astype(np.int32)
        above, below = np.nonzero(units)
        rows.append(above + (level + 1) * tokens)
        columns.append(below + level * tokens)
        widths.append(units[above, below])
    nodes = (len(matrices) + 1) * tokens
    edges = (np.concatenate(rows), np.concatenate(columns))
    return csr_array((np.concatenate(widths), edges), shape=(nodes, nodes))
