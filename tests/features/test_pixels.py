"""Pixel features: the numbers of the images, in the same store, with no model in sight."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dtrak_stream.data.options import ImageOptions, ImageShape
from dtrak_stream.errors import ConfigurationError, FingerprintMismatchError, ModelError
from dtrak_stream.features.encoder import PixelEncoder
from dtrak_stream.featurizing.options import ExecutionOptions
from dtrak_stream.featurizing.run import featurize
from dtrak_stream.projectors.sketch import SketchProjector
from dtrak_stream.store.quarantine import read_quarantine
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.support.claims import holder_of
from tests.crashing import (
    durable_steps,
    finishes_before_step,
    halves_of_writes,
    steps_of_claims,
)
from tests.small_jobs import (
    fingerprint_of,
    flags,
    random_pixels,
    run_tool,
    save_images,
    small_job,
    spoil,
    stored,
)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return save_images(tmp_path_factory.mktemp("images"), random_pixels(7))


def pixel_job(images, store, **changes):
    options = {"output_function": "pixels", "execution": ExecutionOptions(), **changes}
    return small_job("no such model", images, store, **options)


def rows_of(config):
    featurize(config)
    store = FeatureStore.open(config.store)
    return store.rows(range(len(store)))


def test_stored_features_are_the_flattened_pixels(images, tmp_path):
    features = rows_of(pixel_job(images, tmp_path / "s", dtype="float32"))
    expected = random_pixels(7).reshape(7, 64) / np.float64(127.5) - 1
    np.testing.assert_allclose(features, expected, atol=1e-6)
    found = fingerprint_of(tmp_path / "s")
    assert (found.projector, found.proj_dim, found.image_shape) == ("identity", 64, "1x8x8")
    assert (found.weights, found.timesteps, found.noise_draws) == ("none", (), 0)


@given(
    hnp.arrays(np.float32, st.tuples(*[st.integers(1, 4)] * 4), elements=st.floats(-1, 1, width=32))
)
def test_pixels_are_in_the_order_channel_row_column(pixels):
    shape = ImageShape(*pixels.shape[1:])
    encoder = PixelEncoder(shape)
    encoded = encoder.encode(torch.from_numpy(pixels)).numpy()
    assert encoded.shape == (len(pixels), encoder.length)
    assert np.array_equal(encoded, [image.ravel() for image in pixels])


def test_pixels_can_be_sketched(images, tmp_path):
    whole = rows_of(pixel_job(images, tmp_path / "s", dtype="float32"))
    sketched = rows_of(
        pixel_job(images, tmp_path / "t", dtype="float32", projector="sketch", seed=3)
    )
    expected = torch.zeros(7, 64)
    SketchProjector(64, 3).add(torch.from_numpy(whole.copy()), 0, expected)
    np.testing.assert_allclose(sketched, expected.numpy(), atol=1e-5)


def test_large_images_are_sketched_unless_told_otherwise(tmp_path):
    np.save(tmp_path / "large.npy", np.zeros((2, 260, 260, 1), np.uint8))
    config = pixel_job(tmp_path / "large.npy", tmp_path / "s")
    featurize(config)
    assert fingerprint_of(config.store).projector == "sketch"
    assert fingerprint_of(config.store).proj_dim == 64


def test_a_seed_decides_nothing_where_nothing_is_random(images, tmp_path):
    featurize(pixel_job(images, tmp_path / "s", seed=1))
    assert featurize(pixel_job(images, tmp_path / "s", seed=2)).computed == 0
    featurize(pixel_job(images, tmp_path / "t", seed=1, projector="sketch"))
    with pytest.raises(FingerprintMismatchError, match="seed differs"):
        featurize(pixel_job(images, tmp_path / "t", seed=2, projector="sketch"))


def test_images_can_be_brought_to_a_size(images, tmp_path):
    fitted = dataclasses.replace(
        pixel_job(images, tmp_path / "s", size=4), image_options=ImageOptions(image_fit="stretch")
    )
    assert rows_of(fitted).shape == (7, 16)
    with pytest.raises(ModelError, match="--image-fit"):
        featurize(pixel_job(images, tmp_path / "t", size=4))


@pytest.mark.parametrize(
    ("of", "every", "steps"),
    [(durable_steps, 1, 12), (steps_of_claims, 2, 24), (halves_of_writes, 1, 8)],
)
def test_a_kill_at_any_step_and_a_restart_give_the_same_bytes(
    tmp_path, impatient, of, every, steps
):
    images = save_images(tmp_path / "images", random_pixels(7))
    spoil(images / "004.png")
    whole = pixel_job(images, tmp_path / "whole", rows_per_shard=4)
    assert featurize(whole).quarantined == 1
    step = 0
    while True:
        config = dataclasses.replace(whole, store=tmp_path / str(step))
        finished = finishes_before_step(lambda c=config: featurize(c), step, of)  # type: ignore[misc]
        featurize(config)
        for claim in config.store.glob("*.claim"):  # of who died before it told its name
            assert of is steps_of_claims
            assert holder_of(claim.with_suffix("")) is None
            claim.unlink()
        assert stored(config.store) == stored(whole.store)
        if finished:
            break
        step += every
    assert step > steps
    assert [entry.row for entry in read_quarantine(whole.store / "quarantine.jsonl")] == [4]


def test_the_command_needs_no_model(images, tmp_path, capsys):
    config = pixel_job(images, tmp_path / "s")
    words = flags(config)
    at = words.index("--model")
    code, out, errors = run_tool("featurize", words[:at] + words[at + 2 :], capsys)
    assert (code, out) == (0, f"{tmp_path / 's'}\n"), errors
    assert "7 images featurized" in errors


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "bfloat16"}, "--precision bfloat16"),
        ({"size": 0}, "--size 0"),
        ({"projector": "sketch", "proj_dim": 63}, "--proj-dim 63"),
        ({"execution": ExecutionOptions(engine="hooked")}, "--engine hooked"),
    ],
)
def test_options_that_mean_nothing_here_are_refused(images, tmp_path, changes, message):
    with pytest.raises(ConfigurationError, match=message):
        featurize(pixel_job(images, tmp_path / "s", **changes))


def test_out_of_memory_halves_the_batch_and_goes_on(images, tmp_path, monkeypatch):
    expected = rows_of(pixel_job(images, tmp_path / "s"))
    encode, sizes = PixelEncoder.encode, []

    def small_only(self, batch):
        if len(batch) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        sizes.append(len(batch))
        return encode(self, batch)

    monkeypatch.setattr(PixelEncoder, "encode", small_only)
    assert np.array_equal(rows_of(pixel_job(images, tmp_path / "t")), expected)
    assert sizes == [1] * 7
