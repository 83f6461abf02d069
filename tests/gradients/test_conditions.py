"""What samples are of reaches the model, at every timestep and in every engine."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from dtrak_stream.data.options import ImageShape
from dtrak_stream.data.samples import SampleBatch
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.evaluation.losses import LossMeter
from dtrak_stream.evaluation.options import LossOptions
from dtrak_stream.gradients.hooked import HookedEngine
from dtrak_stream.gradients.residuals import residuals
from dtrak_stream.gradients.task import TrajectoryTask
from dtrak_stream.gradients.timestep_batched import TimestepBatchedEngine
from dtrak_stream.model.conditioning import ClassLabels
from dtrak_stream.model.denoiser import Denoiser
from tests.gradients.networks import Network, assert_rows_close, images_of, task_of

LABELS = (2, 0, 1, 2)
IDS = tuple("abcd")


class Labelled(nn.Module):
    """A convolution whose answer is multiplied by the class label."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, noisy, labels):
        return self.layer(noisy) * labels[:, None, None, None]


def ask(network, noisy, _timesteps, inputs):
    return network(noisy, inputs["class_labels"].to(noisy.dtype))


def labelled_task(**options):
    torch.manual_seed(0)
    plain = task_of(Network(nn.Conv2d(2, 2, 1)), noise_draws=2, **options)
    network = Labelled().eval()
    denoiser = Denoiser(
        network,
        plain.denoiser.schedule,
        ImageShape(2, 6, 6),
        ask,
        "Labelled",
        "here",
        conditioner=ClassLabels(6),
    )
    return dataclasses.replace(
        plain, denoiser=denoiser, parameters=dict(network.named_parameters())
    )


def streamed(engine, samples):
    out = torch.zeros(len(samples), engine.num_parameters)

    def receive(piece):
        rows = slice(piece.first_row, piece.first_row + len(piece.block))
        out[rows, piece.offset : piece.offset + piece.block.shape[1]] += piece.block

    engine.stream(samples, receive)
    return out


def gradients_one_by_one(task, images):
    """`square` of each image under its own label, one (timestep, draw) pair at a time."""
    network, rows = task.denoiser.network, []
    for image, label in zip(images, LABELS):
        value = torch.zeros(())
        for pair in task.pairs:
            noise = task.noise.draw((2, 6, 6), sample_id="", pairs=[pair], device=image.device)
            t = torch.tensor([pair[0]])
            noisy, _ = task.denoiser.schedule.noisy_and_target(image[None], noise, t)
            value = value + (label * network.layer(noisy)).square().mean() / len(task.pairs)
        gradients = torch.autograd.grad(value, list(network.parameters()))
        rows.append(torch.cat([part.flatten() for part in gradients]))
    return torch.stack(rows)


@pytest.mark.parametrize("pairs_per_pass", [1, 4, 15, 1000])
def test_every_sample_is_differentiated_under_its_own_condition(pairs_per_pass):
    task = labelled_task(name="square")
    images = images_of(task, 4)
    samples = SampleBatch(IDS, images, LABELS)
    expected = gradients_one_by_one(task, images)
    hooked = HookedEngine(task, frozenset(task.parameters), pairs_per_pass)
    for engine in (hooked, TimestepBatchedEngine(task, pairs_per_pass=pairs_per_pass)):
        assert_rows_close(streamed(engine, samples), expected)
        engine.close()


def test_residuals_and_losses_are_those_of_the_condition():
    task = labelled_task(name="simple")
    images = images_of(task, 4)
    together = SampleBatch(IDS, images, LABELS)
    meter = LossMeter(task.denoiser, LossOptions(loss_timesteps="3", loss_batch=5))
    for measure in (lambda samples: residuals(task, samples, 5), meter.of_batch):
        alone = [float(measure(together[row : row + 1])[0]) for row in range(4)]
        assert measure(together).tolist() == pytest.approx(alone, rel=1e-5)
        others = dataclasses.replace(together, conditions=(2, 5, 1, 2))
        changed = [a != b for a, b in zip(measure(others).tolist(), measure(together).tolist())]
        assert changed == [False, True, False, False]


def test_a_model_that_takes_no_condition_refuses_samples_that_have_one():
    task = task_of(Network(nn.Conv2d(2, 2, 1)))
    samples = SampleBatch(IDS, images_of(task, 4), LABELS)
    with pytest.raises(ConfigurationError, match="takes no condition"):
        TimestepBatchedEngine(task).stream(samples, lambda _: None)


def path_task(timesteps):
    plain = task_of(Network(nn.Conv2d(2, 2, 1)), timesteps=timesteps, name="simple")
    given = {
        field.name: getattr(plain, field.name) for field in dataclasses.fields(plain) if field.init
    }
    return TrajectoryTask(**given)


def test_a_path_is_taken_at_its_own_timesteps_in_whichever_order_it_holds_them():
    torch.manual_seed(0)
    task = path_task((800, 300))
    paths = torch.rand(4, 3, 2, 6, 6) * 2 - 1
    first = SampleBatch(IDS, paths, path=(800, 500, 300))
    second = SampleBatch(IDS, paths.flip(1), path=(300, 500, 800))
    engine = TimestepBatchedEngine(task)
    assert torch.equal(streamed(engine, first), streamed(engine, second))
    fewer = SampleBatch(IDS, paths[:, ::2], path=(800, 300))
    assert torch.equal(streamed(engine, first), streamed(engine, fewer))


def test_images_are_no_sampling_paths():
    task = path_task((800, 300))
    with pytest.raises(ValueError, match="no sampling paths"):
        TimestepBatchedEngine(task).stream(SampleBatch(IDS, images_of(task, 4)), lambda _: None)
