"""Thumbnails that are pooled while the weights come."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lmstudio_app.inspection.overview import MaximumPool, OverviewGatherer
from lmstudio_app.inspection.tokens import Tokens


def tokens(count: int) -> Tokens:
    names = tuple(f"t{index}" for index in range(count))
    return Tokens(names, names, (True, *[False] * (count - 1)), (None, *[0] * (count - 1)))


@pytest.mark.parametrize("chunk", [1, 7, 64, 200])
@pytest.mark.parametrize(("queries", "keys"), [(200, 200), (131, 131), (37, 200), (200, 9), (12, 12), (48, 48)])
def test_pooling_in_chunks_is_pooling_at_once(queries: int, keys: int, chunk: int) -> None:
    weights = torch.rand(3, queries, keys, generator=torch.Generator().manual_seed(1))
    pool = MaximumPool(3, queries, keys, 48)
    for start in range(0, queries, chunk):
        pool.add(start, weights[:, start : start + chunk])
    expected = torch.nn.functional.adaptive_max_pool2d(weights, tuple(pool.picture.shape[1:]))
    assert max(pool.picture.shape[1:]) == min(48, max(queries, keys))
    torch.testing.assert_close(pool.picture, expected, rtol=0, atol=0)


def test_a_single_strong_cell_stays_visible_in_the_thumbnail() -> None:
    weights = torch.full((1, 200, 200), 0.001)
    weights[0, 150, 20] = 0.9
    gatherer = OverviewGatherer(tokens(200), tokens(200), size=40)
    gatherer.receive(0, 0, 200, weights)
    thumbnails = gatherer.result().thumbnails
    assert thumbnails.shape == (1, 1, 40, 40)
    assert thumbnails[0, 0, 30, 4] == pytest.approx(0.9)
    assert (thumbnails > 0.5).sum() == 1


def test_statistics_and_thumbnails_are_of_the_layers_that_came_also_with_fewer_heads() -> None:
    gatherer = OverviewGatherer(tokens(3), tokens(3))
    gatherer.receive(4, 0, 3, torch.eye(3).repeat(2, 1, 1))
    first = torch.zeros(1, 3, 3)
    first[:, :, 0] = 1
    gatherer.receive(1, 0, 3, first)
    overview = gatherer.result()
    assert gatherer.layers == (1, 4)
    assert [len(of_layer) for of_layer in overview.statistics] == [1, 2]
    assert overview.statistics[0][0].special_share == pytest.approx(1.0)
    assert overview.statistics[1][0].entropy == pytest.approx(0.0, abs=1e-6)
    np.testing.assert_array_equal(overview.thumbnails[0, 0], first[0].numpy())
    assert overview.thumbnails[0, 1].max() == 0.0, "there is no such head"
    np.testing.assert_array_equal(overview.thumbnails[1, 1], np.eye(3))


def test_an_overview_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no layers"):
        OverviewGatherer(tokens(3), tokens(3)).result()
