"""The timestep-batched engine against one float64 backward pass for each (sample, timestep)."""

from __future__ import annotations

import dataclasses
import re

import pytest
import torch

from dtrak_stream.data.samples import SampleBatch
from dtrak_stream.gradients.task import GradientTask
from dtrak_stream.gradients.timestep_batched import TimestepBatchedEngine
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.model.parameters import choose_parameters
from dtrak_stream.objective.formulas import FORMULAS
from dtrak_stream.objective.noise import ImageNoise
from dtrak_stream.objective.output_functions import OutputFunction
from tests.conftest import build_unet, save_model
from tests.gradients.networks import Network, Padded, images_of, task_of

IMAGES = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(3)) * 2 - 1
IDS = [f"image-{i}" for i in range(5)]
TIMESTEPS = (0, 250, 999)


def make_engine(folder, *, name="square", dtype=torch.float32, parameters="all", **options):
    denoiser = load_denoiser(folder, dtype=dtype)
    own = {key: options.pop(key) for key in ("pairs_per_pass", "gather_bytes") if key in options}
    options = {"noise": ImageNoise(0), "timesteps": TIMESTEPS, **options}
    chosen = choose_parameters(denoiser.network, parameters)
    task = GradientTask(denoiser, chosen, OutputFunction(name, denoiser.schedule), **options)
    return TimestepBatchedEngine(task, **own)


def gathered(engine, images=IMAGES, ids=IDS):
    """Collect the stream into (samples, parameters); every cell must come exactly once."""
    out = torch.full((len(images), engine.num_parameters), torch.nan)

    def receive(piece):
        rows = slice(piece.first_row, piece.first_row + piece.block.shape[0])
        columns = slice(piece.offset, piece.offset + piece.block.shape[1])
        assert out[rows, columns].isnan().all()
        out[rows, columns] = piece.block

    engine.stream(SampleBatch(tuple(ids), images), receive)
    assert not out.isnan().any()
    return out


def slow_gradients(folder, name, keying="shared", draws=1):
    """One sample, one timestep, one draw at a time; float64; averaged afterwards."""
    denoiser = load_denoiser(folder, dtype=torch.float64)
    chosen = list(choose_parameters(denoiser.network, "all").values())
    f = OutputFunction(name, denoiser.schedule)
    rows = []
    for image, sample_id in zip(IMAGES.double(), IDS):
        total = torch.zeros(sum(p.numel() for p in chosen), dtype=torch.float64)
        for t in TIMESTEPS:
            for draw in range(draws):
                noise = ImageNoise(0, keying).draw(
                    (1, 8, 8), sample_id=sample_id, pairs=[(t, draw)], device=torch.device("cpu")
                )
                timestep = torch.tensor([t])
                noisy, target = denoiser.schedule.noisy_and_target(
                    image[None], noise.double(), timestep
                )
                value = f(denoiser.predict(noisy, timestep), target, timestep)
                total += torch.cat([g.flatten() for g in torch.autograd.grad(value, chosen)])
        rows.append(total / (len(TIMESTEPS) * draws))
    return torch.stack(rows)


def assert_rows_close(actual, expected, tolerance=2e-5):
    errors = (actual.double() - expected).norm(dim=1) / expected.norm(dim=1)
    assert errors.max() < tolerance


@pytest.mark.parametrize("name", [*FORMULAS, "interpolation(0.3)"])
def test_gradients_equal_one_float64_pass_for_each_pair(model_folder, name):
    engine = make_engine(model_folder, name=name)
    assert_rows_close(gathered(engine), slow_gradients(model_folder, name))


@pytest.mark.parametrize("prediction_type", ["v_prediction", "sample"])
def test_gradients_respect_what_the_model_predicts(tmp_path, prediction_type):
    folder = save_model(tmp_path / "m", build_unet(), prediction_type)
    assert_rows_close(
        gathered(make_engine(folder, name="simple")), slow_gradients(folder, "simple")
    )


@pytest.mark.parametrize("keying", ["shared", "per-sample"])
def test_gradients_average_over_draws(model_folder, keying):
    engine = make_engine(model_folder, name="simple", noise=ImageNoise(0, keying), noise_draws=2)
    assert_rows_close(gathered(engine), slow_gradients(model_folder, "simple", keying, draws=2))


@pytest.mark.parametrize("pairs_per_pass", [1, 2, 128])
def test_passes_of_any_size_give_the_same_gradient(model_folder, pairs_per_pass):
    engine = make_engine(model_folder, pairs_per_pass=pairs_per_pass, noise_draws=2)
    assert_rows_close(gathered(engine), slow_gradients(model_folder, "square", draws=2))


@pytest.mark.parametrize("gather_bytes", [1, 200_000, 10**9])
def test_gathering_more_samples_does_not_change_a_bit(model_folder, gather_bytes):
    one_by_one = gathered(make_engine(model_folder, gather_bytes=1))
    assert torch.equal(gathered(make_engine(model_folder, gather_bytes=gather_bytes)), one_by_one)


@pytest.mark.parametrize("keying", ["shared", "per-sample"])
def test_a_gradient_does_not_depend_on_place_or_batch(model_folder, keying):
    engine = make_engine(model_folder, noise=ImageNoise(0, keying))
    together = gathered(engine)
    order = [3, 0, 4]
    apart = gathered(engine, IMAGES[order], [IDS[i] for i in order])
    assert torch.equal(apart, together[order])


@pytest.mark.parametrize("parameters", ["mid_block.*bias", "norm1.weight"])
def test_chosen_parameters_only(model_folder, parameters):
    engine = make_engine(model_folder, parameters=parameters)
    expected = slow_gradients(model_folder, "square")
    names = [(n, p.numel()) for n, p in load_denoiser(model_folder).network.named_parameters()]
    wanted = torch.cat([torch.full((size,), bool(re.search(parameters, n))) for n, size in names])
    expected = expected[:, wanted]
    assert engine.num_parameters == expected.shape[1]
    assert_rows_close(gathered(engine), expected)


@pytest.mark.usefixtures("nan_in_fresh_memory")
@pytest.mark.parametrize("pairs_per_pass", [1, 128])
def test_a_parameter_without_influence_has_a_zero_gradient(model_folder, pairs_per_pass):
    engine = make_engine(model_folder, pairs_per_pass=pairs_per_pass)
    engine.task.parameters["unused"] = torch.nn.Parameter(torch.ones(5))
    gradients = gathered(engine)
    assert torch.count_nonzero(gradients[:, -5:]) == 0
    assert torch.count_nonzero(gradients[:, :-5]) > 0


class Unreached(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(4))

    def forward(self, x):
        return x.clone()


@pytest.fixture
def nan_in_fresh_memory(monkeypatch):
    """Fill what a new buffer holds by chance with NaN."""
    fresh = torch.empty

    def spoiled(*size, **how):
        buffer = fresh(*size, **how)
        return buffer.fill_(torch.nan) if buffer.is_floating_point() else buffer

    monkeypatch.setattr(torch, "empty", spoiled)


@pytest.mark.usefixtures("nan_in_fresh_memory")
@pytest.mark.parametrize("unit_gradients", [False, True])
@pytest.mark.parametrize("pairs_per_pass", [1, 128])
def test_padding_of_an_embedding_has_a_zero_gradient(pairs_per_pass, unit_gradients):
    task = task_of(Network(Padded()), unit_gradients=unit_gradients)
    engine = TimestepBatchedEngine(task, pairs_per_pass=pairs_per_pass)
    gradients = gathered(engine, images_of(task, 2), IDS[:2])  # (samples, entries)
    assert not gradients[:, :2].any()
    assert gradients[:, 2].all()


@pytest.mark.usefixtures("nan_in_fresh_memory")
@pytest.mark.parametrize("unit_gradients", [False, True])
def test_a_model_whose_output_reaches_no_chosen_parameter_has_zero_gradients(unit_gradients):
    task = task_of(Network(Unreached()), unit_gradients=unit_gradients)
    more = (OutputFunction("simple", task.denoiser.schedule),)
    for each in (task, dataclasses.replace(task, more_functions=more)):
        gradients = gathered(TimestepBatchedEngine(each), images_of(task, 2), IDS[:2])
        assert not gradients.any()


def handed_on(engine):
    """Return how many numbers each slice of one sample's gradient has."""
    sizes: list[int] = []
    sample = SampleBatch(("a",), IMAGES[:1])
    engine.stream(sample, lambda piece: sizes.append(piece.block.numel()))
    return sizes


def test_gradients_larger_than_what_is_collected_are_handed_on_as_they_are(model_folder):
    engine = make_engine(model_folder, gather_bytes=1)
    each = sorted(parameter.numel() for parameter in engine.task.parameters.values())
    assert sorted(handed_on(engine)) == each


@pytest.mark.parametrize("options", [{"unit_gradients": True}, {"pairs_per_pass": 1}])
def test_unit_gradients_and_those_of_several_passes_are_added_up_first(model_folder, options):
    engine = make_engine(model_folder, gather_bytes=1, **options)
    assert handed_on(engine) == [engine.num_parameters]
