"""Features of what a module of the network says: against a pass of the model by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

import dtrak_stream
from dtrak_stream import AttributeConfig, ScoreOptions
from dtrak_stream.data.images import open_images
from dtrak_stream.data.options import ImageShape
from dtrak_stream.data.samples import read_batch
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.features.activations import Activations, find_layer, open_activations, said_by
from dtrak_stream.features.vector_maps import fourier_map
from dtrak_stream.featurizing.options import ExecutionOptions
from dtrak_stream.featurizing.run import featurize
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.objective.noise import ImageNoise
from dtrak_stream.store.reader import FeatureStore
from tests.features.test_kept_latents import array_of_images
from tests.gradients.networks import Network, task_of
from tests.model.pipelines import PIPELINES
from tests.small_jobs import (
    fingerprint_of,
    random_pixels,
    save_images,
    small_features,
    small_job,
    stored,
    written_at,
)

COUNT, TIMESTEPS = 5, (100, 400)
LAYER = "activation(down_blocks.0)"


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return save_images(tmp_path_factory.mktemp("images"), random_pixels(COUNT))


def activation_job(model, images, store, function=LAYER, **changes):
    options = {"timesteps": "list:100,400", "dtype": "float32", "execution": ExecutionOptions()}
    return small_job(model, images, store, output_function=function, **{**options, **changes})


def rows_of(config) -> np.ndarray:
    featurize(config)
    store = FeatureStore.open(config.store)
    return store.rows(range(len(store)))


def said_by_hand(folder: str, layer: str, draws: int = 1, seed: int = 0) -> torch.Tensor:
    """Return the mean of a module's output over timesteps and draws, an image at a time."""
    model, said = load_denoiser(folder), []
    module = model.network.get_submodule(layer)
    module.register_forward_hook(
        lambda *given: said.append(given[2][0] if isinstance(given[2], tuple) else given[2])
    )
    for pixels in random_pixels(COUNT):
        image = torch.from_numpy(pixels / np.float32(127.5) - 1).float()[None, None]
        for t in TIMESTEPS:
            for draw in range(draws):
                noise = ImageNoise(seed).draw(
                    (1, 8, 8), sample_id="", pairs=[(t, draw)], device=image.device
                )
                step = torch.tensor([t])
                noisy, _ = model.schedule.noisy_and_target(image, noise, step)
                with torch.no_grad():
                    model.predict(noisy, step)
    together = torch.stack([each.flatten() for each in said])
    return together.reshape(COUNT, len(TIMESTEPS) * draws, -1).mean(dim=1)


@pytest.mark.parametrize("draws", [1, 2])
@pytest.mark.parametrize("layer", ["down_blocks.0", "conv_norm_out"])
def test_rows_are_the_mean_output_of_the_module(model_folder, images, tmp_path, layer, draws):
    config = activation_job(
        model_folder,
        images,
        tmp_path / "s",
        f"activation({layer})",
        projector="identity",
        noise_draws=draws,
    )
    expected = said_by_hand(model_folder, layer, draws)
    np.testing.assert_allclose(rows_of(config), expected, rtol=1e-4, atol=1e-5)
    found = fingerprint_of(config.store)
    assert (found.output_function, found.num_parameters) == (
        f"activation({layer})",
        expected.shape[1],
    )
    assert (found.timesteps, found.noise_keying, found.parameters) == (TIMESTEPS, "shared", "none")


def test_fourier_features_are_of_the_same_output(model_folder, images, tmp_path):
    config = activation_job(model_folder, images, tmp_path / "s", f"rff({LAYER})")
    rows, found = rows_of(config), fingerprint_of(config.store)
    assert (found.output_function, found.proj_dim) == (f"rff({LAYER})", 64)
    assert found.bandwidth is not None
    said = said_by_hand(model_folder, "down_blocks.0")
    expected = fourier_map(said.shape[1], width=64, seed=0, bandwidth=found.bandwidth)(said)
    np.testing.assert_allclose(rows, expected, atol=1e-3)
    pairs = torch.cdist(said.double(), said.double()).square()[np.triu_indices(COUNT, k=1)]
    assert found.bandwidth == pytest.approx(float(pairs.quantile(0.5)), rel=1e-2)


def test_a_row_depends_on_no_batch(model_folder, images, tmp_path):
    by_size = [
        rows_of(
            activation_job(
                model_folder,
                images,
                tmp_path / str(size),
                execution=ExecutionOptions(batch_size=size),
            )
        )
        for size in (1, 3)
    ]
    np.testing.assert_allclose(by_size[0], by_size[1], rtol=1e-4, atol=1e-5)


def test_the_last_block_is_taken_unless_one_is_named(model_folder, images, tmp_path):
    config = activation_job(model_folder, images, tmp_path / "s", "activation(auto)")
    featurize(config)
    last = len(load_denoiser(model_folder).network.get_submodule("up_blocks")) - 1  # type: ignore[arg-type]
    assert fingerprint_of(config.store).output_function == f"activation(up_blocks.{last})"
    assert featurize(config).computed == 0


@pytest.mark.parametrize("name", ["up_blocks.7", "nothing", "unet.up_blocks"])
def test_a_module_that_is_not_there_is_refused_with_those_that_are(
    model_folder, images, tmp_path, name
):
    config = activation_job(model_folder, images, tmp_path / "s", f"activation({name})")
    with pytest.raises(
        ConfigurationError, match=r"has none.*use one of its modules: .*up_blocks\.0"
    ):
        featurize(config)
    assert not config.store.exists()


def test_a_network_without_blocks_wants_its_module_named():
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU())
    with pytest.raises(
        ConfigurationError, match=r"neither up blocks nor transformer blocks.*: 0, 1"
    ):
        find_layer(network, "auto")
    assert find_layer(network, "1") == "1"


class _Twice(nn.Module):
    """A layer that is used twice, and one that is never."""

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.never = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)
        self.pooled = nn.AdaptiveAvgPool2d(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = self.pooled(x.mean(dim=0, keepdim=True))
        twice: torch.Tensor = self.twice(self.twice(x))
        return pooled + twice


@pytest.mark.parametrize(
    ("layer", "problem"),
    [("twice", "runs 2 times"), ("never", "runs 0 times"), ("pooled", "a row for each image")],
)
def test_a_module_that_says_no_row_for_each_image_is_refused(layer, problem):
    task = task_of(Network(_Twice()))
    name = next(each for each, _ in task.denoiser.network.named_modules() if each.endswith(layer))
    with pytest.raises(ConfigurationError, match=problem):
        said_by(task, name, task.denoiser.made_up(2), task.pairs[:1])


def test_out_of_memory_halves_batches_and_then_timesteps(
    model_folder, images, tmp_path, monkeypatch
):
    expected = rows_of(activation_job(model_folder, images, tmp_path / "s"))
    whole, tried = Activations.of, []

    def small_only(self, samples):
        tried.append((len(samples), self.pairs_per_pass))
        if len(samples) * min(2, self.pairs_per_pass) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(self, samples)

    monkeypatch.setattr(Activations, "of", small_only)
    found = rows_of(activation_job(model_folder, images, tmp_path / "t"))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert tried[-1] == (1, 1)


def test_latents_that_are_kept_give_the_same_rows(tmp_path):
    model, source = PIPELINES["ldm-kl"].save(tmp_path / "ldm"), array_of_images(tmp_path)
    plain = activation_job(model, source, tmp_path / "plain", "rff(activation(auto))")
    featurize(plain)
    for name in ("first", "second"):
        config = dataclasses.replace(
            plain, store=tmp_path / name, cache_latents=tmp_path / "latents"
        )
        featurize(config)
        np.testing.assert_allclose(rows_of(config), rows_of(plain), atol=1e-4)
        assert fingerprint_of(config.store) == fingerprint_of(plain.store)


def test_the_main_job_compares_them_and_loads_the_model_once(
    model_folder, images, tmp_path, capsys
):
    config = AttributeConfig(
        model=model_folder,
        train=str(images),
        query=f"{images}[1:3]",
        run=tmp_path / "run",
        features=small_features(timesteps=None),
        score_options=ScoreOptions("activation-rbf", damping="0.1", top_k=1),
        quiet=True,
    )
    with dtrak_stream.ScoresFile(dtrak_stream.attribute(config).scores) as scores:
        assert [scores.top(query, 1)[0].index for query in (0, 1)] == [1, 2]
    told = capsys.readouterr().err
    assert (told.count("UNet2DModel of"), told.count("the median squared")) == (1, 1)
    assert fingerprint_of(config.run / "train").timesteps == (400,)
    before = written_at(config.run / "train")
    dtrak_stream.attribute(config)
    assert written_at(config.run / "train") == before
    assert stored(config.run / "query")


def test_what_gradients_alone_have_is_left_out_and_said(model_folder, images, tmp_path, capsys):
    featurize(activation_job(model_folder, images, tmp_path / "s", parameters="conv_out"))
    told = capsys.readouterr().err
    assert "--parameters: not used, activation(down_blocks.0) features are no gradients" in told


def test_a_batch_fills_a_pass(model_folder, images):
    options = small_features(output_function=LAYER)
    activations = open_activations(model_folder, options)
    assert activations.samples_at_a_time == activations.pairs_per_pass // 2
    batch, _ = read_batch(open_images(str(images), ImageShape(1, 8, 8)), range(2))
    assert activations.of(batch).shape == (2, activations.length)
