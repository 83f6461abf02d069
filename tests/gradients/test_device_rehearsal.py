"""One batch on a device that holds no numbers: the host waits only for the features.

See `tests.rehearsal`: a number that the host wants to know, a copy that waits or a mix of devices
inside a batch fails these tests, as it would slow down or stop a run on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler
from torch import nn

from dtrak_stream.data.options import ImageShape
from dtrak_stream.data.samples import SampleBatch
from dtrak_stream.evaluation.losses import LossMeter
from dtrak_stream.evaluation.options import LossOptions
from dtrak_stream.features.encoder import PixelEncoder
from dtrak_stream.features.gradient_featurizer import Featurizer
from dtrak_stream.features.image_featurizer import ImageFeaturizer
from dtrak_stream.features.vector_maps import LinearMap
from dtrak_stream.gradients import task as task_module
from dtrak_stream.gradients.hooked import HookedEngine
from dtrak_stream.gradients.residuals import residuals
from dtrak_stream.gradients.task import GradientTask, LossScale, TrajectoryTask
from dtrak_stream.gradients.timestep_batched import TimestepBatchedEngine
from dtrak_stream.model.schedule import DDPMSchedule
from dtrak_stream.objective.function_names import OUTPUT_FUNCTIONS
from dtrak_stream.objective.noise import ImageNoise
from dtrak_stream.objective.output_functions import OutputFunction
from dtrak_stream.projectors.projector import SideBySideProjector
from dtrak_stream.projectors.sketch import SketchProjector
from dtrak_stream.projectors.table import make_projector
from dtrak_stream.support.timing import StageTimer
from tests.conftest import build_unet
from tests.gradients.networks import Timed, TimedNetwork, task_of
from tests.rehearsal import META, Rehearsal

IDS = ("a", "b", "c")
TIMESTEPS = (0, 400, 999)


def schedule_of(prediction_type):
    return DDPMSchedule.of(DDPMScheduler(prediction_type=prediction_type))


def looking_up() -> nn.Module:
    """Return a small network that looks its timesteps up, one of them as padding."""
    return TimedNetwork(Timed(1, nn.Linear(1, 1), padding_idx=400), channels=1, size=8)


def task_on_meta(
    *,
    network=build_unet,
    name="square",
    others=(),
    prediction_type="epsilon",
    along=False,
    **options,
):
    """Return a task of a denoiser of the real class, and a batch for it, still on the host."""
    schedule = schedule_of(prediction_type)
    more = tuple(OutputFunction(other, schedule) for other in others)
    plain = task_of(
        network().to(META),
        name=name,
        timesteps=TIMESTEPS,
        schedule=schedule,
        more_functions=more,
        **options,
    )
    if along:
        paths = torch.zeros(len(IDS), len(TIMESTEPS), 1, 8, 8)
        return TrajectoryTask(**own_fields(plain)), SampleBatch(IDS, paths, path=TIMESTEPS)
    return plain, SampleBatch(IDS, torch.zeros(len(IDS), 1, 8, 8))


def own_fields(task: GradientTask) -> dict[str, Any]:
    return {name: value for name, value in vars(task).items() if not name.startswith("_")}


def featurizer(engine, projector="identity", proj_dim=4096):
    """Return what makes features; identity has the fewest operations, which take long here."""
    task = engine.task
    each = make_projector(projector, proj_dim=proj_dim, seed=0, num_parameters=task.num_parameters)
    several = SideBySideProjector(each, len(task.output_functions), task.num_parameters)
    return Featurizer(task, several, task.denoiser.image_shape, META, {}, engine)


def exact(task):
    return TimestepBatchedEngine(task, pairs_per_pass=2)


def hooked(task):
    return HookedEngine(task, frozenset(task.parameters), pairs_per_pass=6)


SMALL = {"network": looking_up}
TASKS: dict[str, dict[str, Any]] = {
    "plain": {},
    "per-sample noise": {"noise": ImageNoise(0, "per-sample"), "noise_draws": 2},
    "several functions": {"name": "simple", "others": ("square", "probe(1/2)")},
    "embeddings": {**SMALL, "noise_draws": 2},
    "unit gradients of embeddings": {**SMALL, "unit_gradients": True},
    "elbo of v": {**SMALL, "name": "elbo", "prediction_type": "v_prediction"},
    "elbo of x": {**SMALL, "name": "elbo", "prediction_type": "sample"},
    "unit gradients": {"unit_gradients": True},
    "loss scale": {**SMALL, "scale": LossScale(1024.0)},
    "trajectory": {**SMALL, "along": True},
}


@pytest.mark.parametrize("engine", [exact, hooked])
@pytest.mark.parametrize("kind", TASKS)
def test_a_batch_goes_through_an_engine_without_waiting(engine, kind):
    task, samples = task_on_meta(**TASKS[kind])
    maker = featurizer(engine(task))
    with Rehearsal() as rehearsal:
        features = maker.features(samples)
    assert features.shape == (len(IDS), task.num_gradients)
    assert rehearsal.brought_back == [tuple(features.shape)], "only the features come back"


@pytest.mark.parametrize("engine", [exact, hooked])
@pytest.mark.parametrize("name", OUTPUT_FUNCTIONS)
def test_every_output_function_goes_through_an_engine_without_waiting(engine, name):
    given = name.replace("(ETA)", "(0.5)").replace("(J)", "(0/2)")
    task, samples = task_on_meta(network=looking_up, name=given)
    maker = featurizer(engine(task))
    with Rehearsal() as rehearsal:
        maker.features(samples)
    assert rehearsal.brought_back == [(len(IDS), task.num_gradients)]


@pytest.mark.parametrize("engine", [exact, hooked])
@pytest.mark.parametrize("projector", ["sketch", "rademacher", "normal"])
@pytest.mark.parametrize("others", [(), ("square",)])
def test_a_batch_goes_through_a_projector_without_waiting(engine, projector, others):
    task, samples = task_on_meta(network=looking_up, name="simple", others=others)
    maker = featurizer(engine(task), projector, proj_dim=64)
    with Rehearsal() as rehearsal:
        maker.features(samples)
    assert rehearsal.brought_back == [(len(IDS), 64 * (1 + len(others)))]


def test_the_kernel_of_the_sketch_is_started_on_the_device_of_its_slice(monkeypatch):
    kernels = pytest.importorskip("dtrak_stream.projectors.sketch_triton")
    inside: list[torch.Tensor] = []
    started = []

    @contextmanager
    def device_of(tensor: torch.Tensor) -> Iterator[None]:
        inside.append(tensor)
        yield
        inside.pop()

    class Kernel:
        def __getitem__(self, _grid: object) -> Any:
            return lambda *_, **__: started.append(list(inside))

    monkeypatch.setattr(torch.cuda, "device_of", device_of)
    monkeypatch.setattr(kernels, "_add_parts", Kernel())
    monkeypatch.setattr(kernels, "_add_up", Kernel())
    block, out = torch.zeros(2, 5000, device=META), torch.zeros(2, 64, device=META)
    with Rehearsal() as rehearsal:
        SketchProjector(64, 0).add_fused(block, 77, out)
    assert [each[0] is block for each in started] == [True, True]
    assert rehearsal.brought_back == []


def test_pixels_go_through_without_waiting():
    shape = ImageShape(1, 8, 8)
    projector = make_projector("sketch", proj_dim=64, seed=0, num_parameters=64)
    encoder, rows = PixelEncoder(shape), LinearMap(projector, seed=0)
    maker = ImageFeaturizer(encoder, rows, shape, META, timer=StageTimer())
    with Rehearsal() as rehearsal:
        maker.features(SampleBatch(IDS, torch.zeros(len(IDS), 1, 8, 8)))
    assert (rehearsal.handed_over, rehearsal.brought_back) == (1, [(len(IDS), 64)])


def test_residuals_of_a_batch_come_back_without_waiting():
    task, samples = task_on_meta(unit_gradients=True)
    with Rehearsal() as rehearsal:
        residuals(task, samples, pairs_per_pass=2)
    assert rehearsal.brought_back == [(len(IDS),)]


def test_the_loss_of_a_batch_comes_back_without_waiting():
    task, samples = task_on_meta()
    meter = LossMeter(task.denoiser, LossOptions(loss_timesteps="2"))
    with Rehearsal() as rehearsal:
        meter.of_batch(samples)
    assert rehearsal.brought_back == [(len(IDS),)]


@pytest.mark.parametrize("engine", [exact, hooked])
def test_all_of_a_batch_is_computed_in_the_arithmetic_of_its_task(engine, monkeypatch):
    inside = []

    @contextmanager
    def noted(device: torch.device, *, tf32: bool, backward: bool) -> Iterator[None]:
        inside.append((device, tf32, backward))
        yield
        inside.pop()

    monkeypatch.setattr(task_module, "repeatable", noted)
    task = task_of(build_unet(), timesteps=TIMESTEPS, tf32=True)
    seen = []
    samples = SampleBatch(IDS, torch.zeros(3, 1, 8, 8))
    engine(task).stream(samples, lambda _: seen.append(list(inside)))
    assert seen
    assert all(each == [(torch.device("cpu"), True, True)] for each in seen)


def test_a_schedule_that_measured_losses_serves_gradients():
    schedule, images = schedule_of("epsilon"), torch.zeros(1, 1, 2, 2, device=META)
    timesteps = torch.zeros(1, dtype=torch.int64, device=META)
    with torch.inference_mode():
        schedule.noisy_and_target(images, images, timesteps)
    assert not any(kept.is_inference() for kept in schedule._at(timesteps))
