"""Timestep sets: the published grids, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.objective.timesteps import choose_timesteps


@given(st.integers(1, 1000))
def test_uniform_timesteps_are_the_published_grid_cut_to_its_count(count):
    timesteps = choose_timesteps(str(count), 1000)
    assert timesteps == tuple(list(range(0, 1000, 1000 // count))[:count])
    assert len(timesteps) == count


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
    "choice",
    [
        "0",
        "1001",
        "-1",
        "ten",
        "list:",
        "list:1000",
        "list:-1",
        "list:3,3",
        "random:5",
        "share:1",
        "share:nan",
        "share:-1,inf",
        "share:",
    ],
)
def test_impossible_timesteps_are_refused(choice):
    with pytest.raises(ConfigurationError, match="--timesteps"):
        choose_timesteps(choice, 1000)
