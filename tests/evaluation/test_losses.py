"""Losses of queries: the training loss over shared noise, however it is batched."""

import numpy as np
import pytest
import torch

from dtrak_stream.data.images import open_images
from dtrak_stream.data.samples import SampleBatch
from dtrak_stream.errors import ConfigurationError, ModelError
from dtrak_stream.evaluation.losses import LossMeter
from dtrak_stream.evaluation.options import LossOptions
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.objective.noise import ImageNoise
from tests.small_jobs import random_pixels, save_images, spoil


def slow_losses(denoiser, images, timesteps, draws, seed):
    """Return the losses one image, timestep and draw at a time."""
    losses = []
    for index in range(len(images)):
        image, values = images.image(index), []
        for t in timesteps:
            for draw in range(draws):
                noise = ImageNoise(seed).draw(
                    tuple(image.shape), sample_id="", pairs=[(t, draw)], device=torch.device("cpu")
                )
                kept = denoiser.schedule.alphas_cumprod[t]
                noisy = kept.sqrt().float() * image + (1 - kept).sqrt().float() * noise
                with torch.no_grad():
                    answer = denoiser.predict(noisy, torch.tensor([t]))
                values.append(float(((answer - noise) ** 2).mean()))
        losses.append(np.mean(values))
    return np.array(losses)


@pytest.mark.parametrize("batch", [1, 4, 7, 100])
def test_loss_is_the_mean_over_timesteps_and_draws(full_model, batch):
    denoiser = load_denoiser(full_model)
    images = open_images("sklearn:digits[30:35]", denoiser.image_shape)
    options = LossOptions(loss_timesteps="list:0,13,39", loss_draws=2, loss_batch=batch)
    losses = LossMeter(denoiser, options).of_images(images)
    expected = slow_losses(denoiser, images, (0, 13, 39), 2, options.loss_seed)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


def test_query_that_cannot_be_read_has_no_loss(full_model, tmp_path):
    folder = save_images(tmp_path / "queries", random_pixels(3))
    spoil(folder / "001.png")
    denoiser = load_denoiser(full_model)
    images = open_images(str(folder), denoiser.image_shape)
    losses = LossMeter(denoiser, LossOptions(loss_timesteps="2")).of_images(images)
    assert np.isnan(losses).tolist() == [False, True, False]


def test_loss_that_is_not_finite_is_refused(full_model):
    denoiser = load_denoiser(full_model)
    with torch.no_grad():
        next(denoiser.network.parameters()).fill_(float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        LossMeter(denoiser, LossOptions(loss_timesteps="2")).of_batch(
            SampleBatch(("a",), torch.zeros(1, 1, 8, 8))
        )


def test_options_out_of_range_are_refused():
    with pytest.raises(ConfigurationError, match="--loss-draws"):
        LossOptions(loss_draws=0)
    with pytest.raises(ConfigurationError, match="--loss-batch"):
        LossOptions(loss_batch=0)
