"""Residuals as features: errors of the model in a store, by forward passes alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.features.options import FeatureOptions
from dtrak_stream.features.residual_features import make_residual_featurizer
from dtrak_stream.featurizing.options import ExecutionOptions
from dtrak_stream.featurizing.run import featurize
from dtrak_stream.gradients.task import GradientTask
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.objective.noise import ImageNoise
from dtrak_stream.store.quarantine import read_quarantine
from dtrak_stream.store.reader import FeatureStore
from tests.small_jobs import (
    fingerprint_of,
    random_pixels,
    save_images,
    small_job,
    spoil,
    stored,
)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return save_images(tmp_path_factory.mktemp("images"), random_pixels(7))


def job(model, images, store, **changes):
    options = {
        "output_function": "residuals",
        "timesteps": "list:60,500",
        "noise_draws": 3,
        "projector": None,
        "proj_dim": None,
        "execution": ExecutionOptions(),
        **changes,
    }
    return small_job(model, images, store, **options)


def rows_of(config):
    featurize(config)
    store = FeatureStore.open(config.store)
    return store.rows(range(len(store)))


def slow_rows(model, draws=3, timesteps=(60, 500)):
    """mean over draws and numbers of (prediction - target)^2 in float64: (N, timesteps)."""
    denoiser = load_denoiser(model, dtype=torch.float64)
    images = torch.from_numpy(random_pixels(7).reshape(7, 1, 1, 8, 8) / np.float64(127.5) - 1)
    noise = ImageNoise(0, "shared")
    rows = torch.zeros(7, len(timesteps), dtype=torch.float64)
    for column, timestep in enumerate(timesteps):
        for draw in range(draws):
            pair, t = (timestep, draw), torch.tensor([timestep])
            drawn = noise.draw((1, 8, 8), sample_id="", pairs=[pair], device=torch.device("cpu"))
            for row, image in enumerate(images):
                noisy, target = denoiser.schedule.noisy_and_target(image, drawn.double(), t)
                with torch.no_grad():
                    wrong = denoiser.predict(noisy, t) - target
                rows[row, column] += wrong.square().mean() / draws
    return rows.numpy()


def test_a_row_holds_the_error_at_each_timestep_in_float32(model_folder, images, tmp_path):
    rows = rows_of(job(model_folder, images, tmp_path / "s"))
    np.testing.assert_allclose(rows, slow_rows(model_folder), rtol=1e-5)
    found = fingerprint_of(tmp_path / "s")
    assert (found.output_function, found.dtype) == ("residuals", "float32")
    assert (found.timesteps, found.noise_draws) == ((60, 500), 3)
    assert (found.parameters, found.projector, found.proj_dim) == ("none", "identity", 2)
    assert not found.has_residuals


def test_unless_told_otherwise_16_draws_are_made_where_a_model_tells_best(model_folder):
    maker = make_residual_featurizer(model_folder, FeatureOptions("residuals"))
    assert (maker.task.timesteps, maker.task.noise_draws, maker.width) == ((60,), 16, 1)
    assert maker.engines == ("none",)
    assert maker.parameter_names == ()


def test_no_gradient_is_taken(model_folder, images, tmp_path, monkeypatch):
    output = GradientTask.output

    def watched(self, batch):
        answer = output(self, batch)
        is_tried = len(answer) == 1  # with a graph, to find out how much memory it takes
        assert is_tried or not answer.requires_grad
        return answer

    monkeypatch.setattr(GradientTask, "output", watched)
    execution = ExecutionOptions(batch_size=2)
    assert len(rows_of(job(model_folder, images, tmp_path / "s", execution=execution))) == 7


def test_a_damaged_image_has_none_and_a_finished_store_is_left_alone(model_folder, tmp_path):
    images = save_images(tmp_path / "images", random_pixels(7))
    spoil(images / "004.png")
    config = job(model_folder, images, tmp_path / "s")
    assert featurize(config).quarantined == 1
    assert [entry.row for entry in read_quarantine(tmp_path / "s" / "quarantine.jsonl")] == [4]
    before = stored(config.store)
    assert featurize(config).computed == 0
    assert stored(config.store) == before


def test_what_is_about_gradients_is_left_out_and_said(model_folder, images, tmp_path, capsys):
    plain = rows_of(job(model_folder, images, tmp_path / "s"))
    config = job(model_folder, images, tmp_path / "t", projector="sketch", proj_dim=64)
    assert np.array_equal(rows_of(config), plain)
    assert (
        "--projector, --proj-dim: not used, residuals are no gradients" in capsys.readouterr().err
    )
    with pytest.raises(ConfigurationError, match="--engine hooked"):
        featurize(job(model_folder, images, tmp_path / "u", execution=ExecutionOptions("hooked")))
