"""Featurizing: what is stored is the projected gradient, or the reason why there is none."""

from __future__ import annotations

import dataclasses
import json

import h5py
import numpy as np
import pytest
import torch

from dtrak_stream.data.images import open_images
from dtrak_stream.errors import ConfigurationError, InputError
from dtrak_stream.featurizing.run import featurize
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.model.parameters import choose_parameters
from dtrak_stream.objective.formulas import FORMULAS
from dtrak_stream.objective.noise import ImageNoise
from dtrak_stream.objective.output_functions import OutputFunction
from dtrak_stream.projectors.table import PROJECTORS, make_projector
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.support.names import each_of
from tests.small_jobs import (
    ALIKE,
    HOOKED,
    random_pixels,
    save_images,
    small_features,
    small_job,
    stored,
    written_at,
)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return save_images(tmp_path_factory.mktemp("images"), random_pixels(7))


def features_of(config):
    """Run a job; return its features (N, k)."""
    featurize(config)
    store = FeatureStore.open(config.store)
    return store.rows(range(len(store)))


def by_name(config):
    """Run a job; return the feature of each image by its name."""
    features = features_of(config)
    names = each_of(FeatureStore.open(config.store).ids)
    return {name.decode(): feature for name, feature in zip(names, features)}


def slow_gradient(model, image, sample_id, options, timesteps=(0, 500)):
    """One backward pass for each timestep and draw in float64, averaged: (p,) float32."""
    denoiser = load_denoiser(model, dtype=torch.float64)
    chosen = list(choose_parameters(denoiser.network, "all").values())
    f = OutputFunction(options.output_function, denoiser.schedule)
    draw = ImageNoise(options.seed, options.noise).draw
    total = torch.zeros(sum(parameter.numel() for parameter in chosen), dtype=torch.float64)
    draws = options.noise_draws or 1
    for pair in [(t, n) for t in timesteps for n in range(draws)]:
        noise = draw((1, 8, 8), sample_id=sample_id, pairs=[pair], device=torch.device("cpu"))
        t = torch.tensor(pair[:1])
        noisy, target = denoiser.schedule.noisy_and_target(image.double(), noise.double(), t)
        gradients = torch.autograd.grad(f(denoiser.predict(noisy, t), target, t), chosen)
        total += torch.cat([gradient.flatten() for gradient in gradients])
    return (total / (len(timesteps) * draws)).float()


def slow_features(model, images, options):
    source = open_images(str(images), visible=False)
    rows = []
    for index, sample_id in enumerate(source.sample_ids(0, len(source))):
        gradient = slow_gradient(model, source.image(index), sample_id, options)[None]  # (1, p)
        projector = make_projector(
            options.projector,
            proj_dim=options.proj_dim,
            seed=options.seed,
            num_parameters=gradient.shape[1],
        )
        rows.append(torch.zeros(1, projector.proj_dim))
        projector.add(gradient, 0, rows[-1])
    return torch.cat(rows).numpy()


def assert_rows_close(actual, expected, tolerance=1e-4):
    assert actual.shape == expected.shape
    errors = np.linalg.norm(actual - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert errors.max() < tolerance


REFERENCE_JOBS = [
    {"projector": "sketch", "output_function": "square"},
    {"projector": "rademacher", "output_function": "simple", "noise": "per-sample", "seed": 3},
    {"projector": "normal", "output_function": "elbo", "noise_draws": 2},
    {"projector": "identity", "output_function": "l2", "seed": 4},
]


@pytest.mark.parametrize("execution", [ALIKE, HOOKED], ids=lambda execution: execution.engine)
@pytest.mark.parametrize("changes", REFERENCE_JOBS, ids=lambda changes: changes["projector"])
def test_stored_features_are_projected_gradients(
    model_folder, images, tmp_path, changes, execution
):
    options = {"dtype": "float32", "execution": execution, **changes}
    config = small_job(model_folder, f"{images}[:4]", tmp_path / "s", **options)
    expected = slow_features(model_folder, config.images, config.features)
    assert_rows_close(features_of(config), expected)


def test_float16_features_are_the_float32_ones_rounded(model_folder, images, tmp_path):
    exact = features_of(small_job(model_folder, images, tmp_path / "32", dtype="float32"))
    rounded = features_of(small_job(model_folder, images, tmp_path / "16", dtype="float16"))
    largest = np.abs(exact).max(axis=1, keepdims=True)
    assert (np.abs(rounded - exact) <= np.abs(exact) * 2.0**-11 + largest * 2.0**-38).all()
    assert (rounded != exact).any()


def test_the_joined_view_holds_what_the_shards_hold(model_folder, images, tmp_path):
    features = features_of(small_job(model_folder, images, tmp_path / "s", dtype="float16"))
    with h5py.File(tmp_path / "s" / "features.h5") as joined:
        row = 0
        for path in sorted((tmp_path / "s" / "shards").iterdir()):
            with h5py.File(path) as shard:
                rows = slice(row, row := row + len(shard["scale"]))
                for name in ("features", "scale", "sample_id", "norm"):
                    assert np.array_equal(joined[name][rows], shard[name][()])
        assert row == 7
        assert np.array_equal(joined["features"][()] * joined["scale"][()][:, None], features)


def test_no_file_of_a_store_holds_the_time_it_was_written(model_folder, images, tmp_path):
    featurize(small_job(model_folder, images, tmp_path / "s"))
    for path in (tmp_path / "s").rglob("*.h5"):
        with h5py.File(path) as file:
            assert not any(file[n].id.get_create_plist().get_obj_track_times() for n in file)


@pytest.mark.parametrize("noise", ["shared", "per-sample"])
def test_a_feature_does_not_depend_on_the_size_of_shards(model_folder, images, tmp_path, noise):
    def job(rows):
        options = {"dtype": "float32", "noise": noise, "execution": HOOKED}
        return small_job(model_folder, images, tmp_path / str(rows), rows_per_shard=rows, **options)

    expected = features_of(job(7))
    for rows in (1, 2, 100):
        assert_rows_close(features_of(job(rows)), expected, 1e-5)


@pytest.mark.parametrize("noise", ["shared", "per-sample"])
def test_a_feature_does_not_depend_on_the_images_before_it(model_folder, images, tmp_path, noise):
    names = ["x.png", "y.png", "z.png"]
    alone = save_images(tmp_path / "alone", random_pixels(3), names)
    later = save_images(tmp_path / "later", random_pixels(3), names)
    save_images(later, random_pixels(5, seed=1), [f"{index}.png" for index in range(5)])
    options = {"dtype": "float32", "noise": noise, "execution": HOOKED}
    expected = by_name(small_job(model_folder, alone, tmp_path / "s", **options))
    found = by_name(small_job(model_folder, later, tmp_path / "t", **options))
    assert list(found)[5:] == list(expected) == names
    first, second = (np.stack([side[name] for name in names]) for side in (found, expected))
    assert_rows_close(first, second, 1e-5)


@pytest.mark.parametrize(("noise", "same"), [("shared", True), ("per-sample", False)])
def test_the_order_of_images_is_the_order_of_features(model_folder, tmp_path, noise, same):
    """Reversed by new names, which per-sample noise is keyed by."""
    forward = save_images(tmp_path / "forward", random_pixels(5))
    backward = save_images(tmp_path / "backward", random_pixels(5)[::-1])
    options = {"dtype": "float32", "noise": noise}
    first = features_of(small_job(model_folder, forward, tmp_path / "s", **options))
    second = features_of(small_job(model_folder, backward, tmp_path / "t", **options))[::-1]
    assert np.allclose(second, first, rtol=1e-4, atol=1e-5 * np.abs(first).max()) == same
    assert not np.allclose(second, first[::-1], rtol=1e-2)


def test_a_finished_store_is_left_as_it_is(model_folder, images, tmp_path):
    config = small_job(model_folder, images, tmp_path / "s")
    assert featurize(config).computed == 7
    before = written_at(tmp_path / "s")
    again = featurize(config)
    assert (again.computed, again.path) == (0, tmp_path / "s")
    assert written_at(tmp_path / "s") == before


def test_the_plan_tells_what_the_features_depend_on(model_folder, images, tmp_path):
    featurize(small_job(model_folder, images, tmp_path / "s", output_function="l1", seed=5))
    plan = json.loads((tmp_path / "s" / "store.json").read_text())
    told = {name: plan["fingerprint"][name] for name in ("output_function", "seed", "samples")}
    assert told == {"output_function": "l1", "seed": 5, "samples": 7}
    assert plan["fingerprint"]["timesteps"] == [0, 500]
    assert plan["num_shards"] == 3
    with h5py.File(tmp_path / "s" / "shards" / "00000000.h5") as shard:
        assert shard.attrs["fingerprint"] == plan["fingerprint_hash"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"output_function": "cubic"}, rf"^--output-function cubic: .*{', '.join(FORMULAS)}"),
        ({"output_function": "interpolation(x)"}, r"^--output-function interpolation\(x\): "),
        ({"timesteps": "0"}, r"^--timesteps 0: must be from 1 to 1000"),
        ({"timesteps": "list:5,5"}, r"^--timesteps list:5,5: a timestep is named twice"),
        ({"timesteps": "list:1000"}, r"^--timesteps list:1000: .*\[0, 1000\)"),
        ({"timesteps": "soon"}, r"^--timesteps soon: "),
        ({"projector": "magic"}, rf"^--projector magic: .*{', '.join(PROJECTORS)}"),
        ({"proj_dim": 100}, r"^--proj-dim 100: .*multiple of 64"),
        ({"proj_dim": 0}, r"^--proj-dim 0: "),
        ({"proj_dim": 65_600}, r"^--proj-dim 65600: "),
        ({"device": "cuda:99"}, r"^--device cuda:99: no such device here"),
        ({"precision": "tf32"}, r"^--precision tf32: there is no TF32 on cpu"),
        ({"device": "toaster"}, r"^--device toaster: no such device here"),
        ({"noise_draws": 0}, r"^--noise-draws 0: must be from 1"),
        ({"rows_per_shard": 0}, r"^--rows-per-shard 0: must be from 1"),
        ({"parameters": "nothing"}, r"^--parameters nothing: no parameter of the model matches"),
        ({"parameters": "("}, r"^--parameters \(: not a regular expression"),
    ],
)
def test_unsupported_options_are_refused_by_their_flag(
    model_folder, images, tmp_path, changes, message
):
    with pytest.raises(ConfigurationError, match=message) as refused:
        featurize(small_job(model_folder, images, tmp_path / "s", **changes))
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_that_is_no_number_of_images_is_refused(model_folder, images, tmp_path, limit):
    with pytest.raises(ConfigurationError, match=r"^--limit: "):
        featurize(small_job(model_folder, images, tmp_path / "s", limit=limit))


def test_a_folder_that_holds_something_else_is_refused(model_folder, images, tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match=r"s: not empty and not a feature store; .*--store"):
        featurize(small_job(model_folder, images, tmp_path / "s"))
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["thesis.tex"]


def test_an_empty_folder_becomes_a_store(model_folder, images, tmp_path):
    (tmp_path / "s").mkdir()
    config = small_job(model_folder, images, tmp_path / "s", rows_per_shard=100)
    assert featurize(dataclasses.replace(config, limit=2)).computed == 2


def test_default_output_function_is_that_of_the_default_method(model_folder, images, tmp_path):
    assert small_features().output_function is None
    unnamed = small_job(model_folder, images, tmp_path / "s", output_function=None)
    named = small_job(model_folder, images, tmp_path / "t", output_function="square")
    featurize(unnamed)
    featurize(named)
    assert stored(tmp_path / "s") == stored(tmp_path / "t")
