"""Counter-based noise: what it may depend on, and that it stays what it was."""

from __future__ import annotations

import pytest
import torch

from dtrak_stream.objective.noise import ImageNoise

CPU = torch.device("cpu")
PINNED = [-1.896597146987915, 1.9380608797073364, -0.3525535464286804, -1.0393967628479004]


def draw(noise, pairs, sample_id="a", shape=(3, 5, 7)):
    return noise.draw(shape, sample_id=sample_id, pairs=pairs, device=CPU)


@pytest.mark.parametrize("keying", ["shared", "per-sample"])
def test_noise_of_a_timestep_does_not_depend_on_the_others(keying):
    noise = ImageNoise(5, keying)
    together = draw(noise, [(0, 0), (10, 0), (10, 1)])
    assert torch.equal(together[1:2], draw(noise, [(10, 0)]))
    assert not torch.equal(together[1], together[2])
    assert not torch.equal(together[0], together[1])


def test_shared_noise_is_the_same_for_all_samples_and_keyed_noise_is_not():
    pairs = [(10, 0)]
    shared, keyed = ImageNoise(0, "shared"), ImageNoise(0, "per-sample")
    assert torch.equal(draw(shared, pairs, "a"), draw(shared, pairs, "b"))
    assert not torch.equal(draw(keyed, pairs, "a"), draw(keyed, pairs, "b"))
    assert torch.equal(draw(keyed, pairs, "a"), draw(keyed, pairs, "a"))


def test_noise_changes_with_the_seed():
    assert not torch.equal(draw(ImageNoise(0), [(0, 0)]), draw(ImageNoise(1), [(0, 0)]))


def test_noise_stays_what_it_was():
    """Features of stores on disk depend on these numbers."""
    values = draw(ImageNoise(0), [(500, 0)], shape=(1, 2, 2)).flatten()
    torch.testing.assert_close(values, torch.tensor(PINNED), rtol=1e-6, atol=1e-6)
