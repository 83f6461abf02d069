"""The main job on a GPU and on the CPU: the same scores but for rounding."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from dtrak_stream import attribute
from tests.attribution.jobs import datasets, job


@pytest.mark.parametrize("method", ["d-trak", "trak", "das", "best"])
def test_scores_and_ranks_are_those_of_the_cpu(device, model_folder, sources, tmp_path, method):
    found = {}
    for name, where in (("there", str(device)), ("here", "cpu")):
        config = job(
            model_folder, sources, tmp_path / name, scores={"method": method}, device=where
        )
        found[name] = datasets(attribute(config).scores)
    here, there = found["here"]["scores"], found["there"]["scores"]
    assert np.abs(there - here).max() <= 1e-2 * np.abs(here).max()
    for one, other in zip(there, here):
        assert spearmanr(one, other).statistic > 0.999
    assert np.array_equal(found["there"]["top_index"][:, 0], found["here"]["top_index"][:, 0])
