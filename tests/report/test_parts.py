"""The small parts: numbers, sizes, counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dtrak_stream.report.histograms import count_scores, short, signed, unsigned
from dtrak_stream.report.tiles import enlarge, shrink, to_picture

sides = st.integers(1, 300)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12.345, "+12.3"),
        (-0.012345, "−0.0123"),
        (0.0, "0"),
        (1234567.0, "+1.23e6"),
        (-1.2345e-9, "−1.23e−9"),
        (12345.6, "+12,346"),
        (0.9999, "+1.00"),
        (float("nan"), "–"),
    ],
)
def test_scores_are_written_with_sign_and_three_digits(value: float, text: str) -> None:
    assert signed(value) == text


@given(st.floats(-1e30, 1e30).filter(lambda value: value == 0 or abs(value) > 1e-30))
def test_a_written_number_reads_back_within_half_a_percent(value: float) -> None:
    read = float(unsigned(value).replace("−", "-").replace(",", ""))
    assert read == pytest.approx(value, rel=5.1e-3)


def test_ticks_have_no_needless_digits() -> None:
    assert [short(tick) for tick in (0.0, -0.0005, 1500.0, 2e-7)] == [
        "0",
        "−0.0005",
        "1,500",
        "2e−7",
    ]


@given(sides, sides, st.integers(16, 200))
def test_a_picture_is_scaled_down_only_if_it_is_too_large(
    width: int, height: int, most: int
) -> None:
    small = shrink(Image.new("L", (width, height)), most)
    if max(width, height) <= most:
        assert small.size == (width, height)
    else:
        assert max(small.size) == most
        assert min(small.size) == pytest.approx(
            max(1, min(width, height) * most / max(width, height)), abs=0.5
        )


@given(sides, sides, st.sampled_from([128, 256]))
def test_a_small_picture_is_enlarged_by_a_whole_number(width: int, height: int, side: int) -> None:
    pixels = np.arange(width * height, dtype=np.uint32).reshape(height, width).astype(np.uint8)
    large = np.asarray(enlarge(Image.fromarray(pixels), side))
    assert max(large.shape) <= side
    factor = side // max(width, height)
    if factor >= 1:
        assert max(large.shape) > side / 2
        np.testing.assert_array_equal(large, pixels.repeat(factor, axis=0).repeat(factor, axis=1))


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=50), st.integers(1, 7))
def test_every_score_is_counted_once_whatever_the_blocks(values: list[float], step: int) -> None:
    scores = np.array([*values, np.nan], np.float32)
    low, high = float(np.nanmin(scores)), float(np.nanmax(scores))
    blocks = [scores[start : start + step] for start in range(0, len(scores), step)]
    whole = count_scores([scores], low, high)
    assert whole.counts.sum() == len(values)
    assert whole.outside == 0
    np.testing.assert_array_equal(count_scores(blocks, low, high).counts, whole.counts)


def test_uint8_pixels_come_back_exactly() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    image = torch.from_numpy(levels.astype(np.float32) / np.float32(127.5) - np.float32(1))
    np.testing.assert_array_equal(np.asarray(to_picture(image)), levels[0])
    assert to_picture(image.expand(3, 16, 16)).mode == "RGB"
