"""Timestep sets: the published grids, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.objective.timesteps import choose_timesteps


@given(st.integers(1, 2000), st.data())
def test_uniform_timesteps_are_spread_over_all_of_t(num_timesteps, data):
    count = data.draw(st.integers(1, num_timesteps))
    timesteps = choose_timesteps(str(count), num_timesteps)
    assert len(timesteps) == count
    assert timesteps[0] == 0
    gaps = np.diff([*timesteps, num_timesteps])  # the last one is what is left of T
    assert set(gaps) <= {num_timesteps // count, -(-num_timesteps // count)}


@pytest.mark.parametrize("count", [1, 2, 4, 5, 8, 10, 20, 50, 100, 125, 200, 250, 500, 1000])
def test_counts_that_divide_t_keep_their_published_grid(count):
    assert choose_timesteps(f"uniform:{count}", 1000) == tuple(range(0, 1000, 1000 // count))


def test_a_count_above_half_of_t_reaches_the_noisy_end():
    assert choose_timesteps("uniform:600", 1000)[-1] == 998


@pytest.mark.parametrize(
    ("choice", "num_timesteps", "timesteps"),
    [
        ("share:0.29", 100, (29,)),  # the product in floating point is 28.999...
        ("share:0.06,0.2", 1000, (60, 200)),
        ("share:0.0574", 1000, (57,)),
        ("share:0.0576", 1000, (58,)),
    ],
)
def test_shares_of_t_are_rounded_to_the_nearest_timestep(choice, num_timesteps, timesteps):
    assert choose_timesteps(choice, num_timesteps) == timesteps


@pytest.mark.parametrize(
    ("choice", "timesteps"),
    [
        ("uniform:4", (0, 250, 500, 750)),
        ("cumulative:3", (0, 1, 2)),
        ("list:7,3,999", (7, 3, 999)),
        ("1", (0,)),
        ("share:0.06,0.29,0", (60, 290, 0)),
    ],
)
def test_timesteps_are_chosen_by_kind(choice, timesteps):
    assert choose_timesteps(choice, 1000) == timesteps


@pytest.mark.parametrize(
    ("choice", "why"),
    [
        ("0", "must be from 1 to 1000"),
        ("1001", "must be from 1 to 1000"),
        ("-1", "must be from 1 to 1000"),
        ("ten", "cannot be read"),
        ("list:", "cannot be read"),
        ("list:1000", "timesteps must lie in [0, 1000)"),
        ("list:-1", "timesteps must lie in [0, 1000)"),
        ("list:3,3", "a timestep is named twice"),
        ("random:5", "unknown kind 'random'"),
        ("share:1", "timesteps must lie in [0, 1000)"),
        ("share:nan", "cannot be read"),
        ("share:-1,inf", "cannot be read"),
        ("share:", "cannot be read"),
    ],
)
def test_impossible_timesteps_are_refused_with_the_reason(choice, why):
    with pytest.raises(ConfigurationError) as refusal:
        choose_timesteps(choice, 1000)
    assert str(refusal.value).startswith(f"--timesteps {choice}: {why}; use a count such as 10, ")
