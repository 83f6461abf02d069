"""Counter-based noise: what it may depend on, and that it stays what it was."""

from __future__ import annotations

import pytest
import torch
import xxhash
from torch.utils._python_dispatch import TorchDispatchMode

from dtrak_stream.objective import noise as image_noise
from dtrak_stream.objective.noise import ImageNoise
from dtrak_stream.support.random_bits import StreamKey, normals_from_words, random_words

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


@pytest.mark.parametrize("keying", ["shared", "per-sample"])
@pytest.mark.parametrize("at_a_time", [1, 250, 10**6])
def test_noise_of_many_samples_is_the_noise_of_each_to_the_bit(keying, at_a_time, monkeypatch):
    monkeypatch.setattr(image_noise, "_NUMBERS_AT_A_TIME", {"cpu": at_a_time})
    noise, pairs, names = ImageNoise(3, keying), [(0, 0), (999, 0), (10, 7)], ["a", "b", "ä/c"]
    together = noise.draws((3, 5, 7), sample_ids=names, pairs=pairs, device=CPU)
    assert together.shape == (3, 3, 3, 5, 7)
    for row, name in zip(together, names):
        for one, pair in zip(row, pairs):
            assert torch.equal(one, slow_noise(noise, name, pair, 105).reshape(3, 5, 7))


def slow_noise(noise, sample_id, pair, elements):
    """One tensor of noise, four numbers at a time."""
    timestep, number = pair
    digest = xxhash.xxh3_64_intdigest(sample_id.encode())
    low, high = (0, 0) if noise.keying == "shared" else (digest % 2**32, digest // 2**32)
    key = StreamKey(f"noise/{noise.keying}", noise.seed)
    blocks = [
        normals_from_words(random_words(key, (block, timestep * 2**16 + number, low, high)))
        for block in range(-(-elements // 4))
    ]
    return torch.cat(blocks)[:elements]


def test_noise_of_many_samples_takes_as_many_operations_as_that_of_one():
    """On a GPU, time is launches: they must not grow with samples or timesteps."""

    def operations(samples, pairs):
        noise, counted = ImageNoise(0, "per-sample"), CountedOperations()
        names, places = [f"{i}" for i in range(samples)], [(t, 0) for t in range(pairs)]
        with counted:
            noise.draws((1, 4, 4), sample_ids=names, pairs=places, device=CPU)
        return counted.number

    assert operations(64, 10) == operations(1, 1)


class CountedOperations(TorchDispatchMode):
    number = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        self.number += 1
        return function(*arguments, **(options or {}))
