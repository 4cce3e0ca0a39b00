"""Weights become places in a colour map, worked out here by hand."""

from __future__ import annotations

import numpy as np
import pytest

from lmstudio_app.inspection import scales
from lmstudio_app.inspection.scales import SCALES, pool_shades, scale_signed, scale_to, scale_weights

WEIGHTS = np.array([[0.5, 0.25, 0.25], [0.1, 0.88, 0.02], [0.2, 0.2, 0.6]], dtype=np.float32)


def rounded(shares: object) -> list[list[int]]:
    return np.floor(255 * np.array(shares, dtype=np.float64) + 0.5).astype(int).tolist()  # type: ignore[no-any-return]


def test_a_head_is_drawn_up_to_its_own_largest_weight_or_up_to_one() -> None:
    own = scale_weights(WEIGHTS, "head")
    assert own.shades.tolist() == rounded(WEIGHTS / 0.88)
    assert (own.low, own.high, own.is_signed) == (0.0, pytest.approx(0.88), False)
    assert own.value_at(0.5) == pytest.approx(0.44)
    shared = scale_weights(WEIGHTS, "shared")
    assert shared.shades.tolist() == rounded(WEIGHTS)
    assert shared.high == 1.0
    assert scale_to(WEIGHTS, 0.5).shades.max() == 255


def test_rows_and_columns_are_drawn_up_to_their_own_largest_weight() -> None:
    rows = scale_weights(WEIGHTS, "row")
    assert rows.shades.tolist() == rounded(WEIGHTS / WEIGHTS.max(axis=1, keepdims=True))
    assert rows.shades.max(axis=1).tolist() == [255, 255, 255]
    assert rows.is_relative
    columns = scale_weights(WEIGHTS, "column")
    assert columns.shades.tolist() == rounded(WEIGHTS / WEIGHTS.max(axis=0, keepdims=True))
    assert columns.shades.max(axis=0).tolist() == [255, 255, 255]


def test_powers_of_ten_are_equally_far_apart() -> None:
    weights = np.array([[1.0, 0.1, 0.01], [0.001, 0.0001, 0.0]], dtype=np.float32)
    scaled = scale_weights(weights, "log")
    assert scaled.shades.tolist() == [[255, 191, 128], [64, 0, 0]]
    assert scaled.value_at(0.5) == pytest.approx(0.01)
    assert scaled.value_at(0) == pytest.approx(1e-4)


def test_a_difference_is_signed_and_the_middle_is_none() -> None:
    heads = np.stack([WEIGHTS, WEIGHTS[::-1]])
    scaled = scale_weights(WEIGHTS, "difference", heads.mean(axis=0))
    difference = WEIGHTS - heads.mean(axis=0)
    top = float(np.abs(difference).max())
    assert scaled.shades.tolist() == np.floor(128.5 + 127 * difference / top).astype(int).tolist()
    assert (scaled.low, scaled.high) == (pytest.approx(-top), pytest.approx(top))
    assert scaled.is_signed
    assert scaled.shades[1].tolist() == [128, 128, 128]
    with pytest.raises(ValueError, match="needs the mean"):
        scale_weights(WEIGHTS, "difference")
    with pytest.raises(ValueError, match="unknown scale"):
        scale_weights(WEIGHTS, "colourful")


def test_signed_values_reach_both_ends() -> None:
    values = np.array([[-4.0, 0.0, 2.0]], dtype=np.float32)
    assert scale_signed(values).shades.tolist() == [[1, 128, 192]]
    assert scale_signed(values, top=2.0).shades.tolist() == [[1, 128, 255]]


@pytest.mark.parametrize("scale", SCALES)
def test_blocks_do_not_show(scale: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half precision and nothing but zeros are drawn too."""
    weights = np.random.default_rng(0).random((57, 31), dtype=np.float32)
    mean = weights[::-1] * np.float32(0.5)
    whole = scale_weights(weights, scale, mean)
    monkeypatch.setattr(scales, "_BLOCK", 100)
    np.testing.assert_array_equal(scale_weights(weights, scale, mean).shades, whole.shades)
    half = scale_weights(weights.astype(np.float16), scale, mean)
    assert np.abs(half.shades.astype(int) - whole.shades).max() <= 1
    nothing = scale_weights(np.zeros((3, 2), dtype=np.float32), scale, np.zeros((3, 2), dtype=np.float32))
    assert set(np.unique(nothing.shades)) == {128 if scale == "difference" else 0}


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (4, 6), (7, 3)])
def test_pooling_keeps_the_strongest(shape: tuple[int, int]) -> None:
    shades = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    pooled, signed = pool_shades(shades), pool_shades(shades, signed=True)
    assert pooled.shape == signed.shape == (-(-shape[0] // 2), -(-shape[1] // 2))
    for row in range(pooled.shape[0]):
        for column in range(pooled.shape[1]):
            patch = shades[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].ravel().astype(int)
            assert pooled[row, column] == patch.max()
            assert abs(int(signed[row, column]) - 128) == np.abs(patch - 128).max()
            assert signed[row, column] in patch
