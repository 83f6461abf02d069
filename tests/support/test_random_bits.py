"""Counter-based bits: known answers, statistics, and what they may depend on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dtrak_stream.support.random_bits import (
    StreamKey,
    mixed_words,
    normals_from_words,
    philox,
    random_words,
)

ALL_ONES = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("key", "counter", "answer"),
    [
        ((0, 0), (0, 0, 0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (
            (ALL_ONES, ALL_ONES),
            (ALL_ONES, ALL_ONES, ALL_ONES, ALL_ONES),
            (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
        ),
        (
            (0xA4093822, 0x299F31D0),
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_the_published_known_answers(key, counter, answer):
    assert tuple(philox(key, counter).tolist()) == answer


def reference_philox(key, counter):
    """Philox-4x32-10 with Python's unbounded integers."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        first, second = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = (
            (second >> 32) ^ c1 ^ k0,
            second & ALL_ONES,
            (first >> 32) ^ c3 ^ k1,
            first & ALL_ONES,
        )
        k0, k1 = (k0 + 0x9E3779B9) & ALL_ONES, (k1 + 0xBB67AE85) & ALL_ONES
    return c0, c1, c2, c3


def reference_splitmix(seed, index):
    """Word `index` of SplitMix64 started at `seed`, with Python's unbounded integers."""
    whole = 2**64 - 1
    word = (seed + index * 0x9E3779B97F4A7C15) & whole
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & whole
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & whole
    return word ^ (word >> 31)


def test_splitmix_reference_gives_the_published_known_answers():
    answers = [0x599ED017FB08FC85, 0x2C73F08458540FA5, 0x883EBCE5A3F27C77]
    assert [reference_splitmix(1234567, index) for index in (1, 2, 3)] == answers


@given(st.integers(0, 100), st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=9))
def test_mixed_words_are_the_words_of_splitmix(seed, counters):
    key = StreamKey("a", seed)
    low, high = key.words()
    expected = [reference_splitmix(high << 32 | low, counter) for counter in counters]
    words = mixed_words(key, torch.tensor(counters))
    assert [word % 2**64 for word in words.tolist()] == expected


words32 = st.integers(0, ALL_ONES)


@given(st.tuples(words32, words32), st.tuples(words32, words32, words32, words32))
def test_philox_equals_unbounded_integers(key, counter):
    assert tuple(philox(key, counter).tolist()) == reference_philox(key, counter)


@given(st.lists(words32, min_size=1, max_size=9))
def test_words_of_a_counter_do_not_depend_on_its_neighbours(counters):
    key = StreamKey("test", 3)
    together = random_words(key, (torch.tensor(counters), 1, 2, 3))
    alone = torch.stack([random_words(key, (c, 1, 2, 3)) for c in counters])
    assert torch.equal(together, alone)


def test_domains_and_seeds_are_different_streams():
    counters = torch.arange(1000)
    streams = [
        random_words(StreamKey(domain, seed), (counters, 0, 0, 0)).double().flatten()
        for domain, seed in [("a", 0), ("a", 1), ("b", 0)]
    ]
    correlation = np.corrcoef(torch.stack(streams).numpy())
    assert np.abs(correlation - np.eye(3)).max() < 0.06


def test_normals_have_the_moments_of_a_standard_normal():
    words = random_words(StreamKey("test", 0), (torch.arange(250_000), 0, 0, 0))
    normals = normals_from_words(words).double().flatten()
    for power, moment in [(1, 0.0), (2, 1.0), (3, 0.0), (4, 3.0)]:
        assert abs(float((normals**power).mean()) - moment) < 0.05
    assert torch.isfinite(normals).all()


def test_normals_are_finite_for_the_extreme_words():
    extremes = torch.tensor([[0, 0, ALL_ONES, ALL_ONES], [ALL_ONES, 0, 0, ALL_ONES]])
    assert torch.isfinite(normals_from_words(extremes)).all()
