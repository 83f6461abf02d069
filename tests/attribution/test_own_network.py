"""A network that is none of diffusers takes part as a family of its own, given from Python."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor, nn

import dtrak_stream
from dtrak_stream import (
    ClassLabels,
    Denoiser,
    FeaturizeConfig,
    ImageShape,
    PlanConfig,
    SampleBatch,
    VerifyConfig,
)
from dtrak_stream.errors import (
    ConfigurationError,
    DtrakStreamError,
    FingerprintMismatchError,
    InputError,
    ModelError,
)
from dtrak_stream.gradients.task import GradientTask
from dtrak_stream.model.conditioning import CLASS_LABELS, NetworkInputs
from dtrak_stream.model.parameters import choose_parameters
from dtrak_stream.model.places import EMBEDDED_MODEL
from dtrak_stream.objective.noise import ImageNoise
from dtrak_stream.objective.output_functions import OutputFunction
from tests.attribution.jobs import datasets, job, results_of
from tests.gradients.networks import assert_rows_close, engine_called, gathered
from tests.small_jobs import random_pixels, save_images

SIGMA_DATA = 0.5


class SmallNetwork(nn.Module):
    """F of (c_in x, c_noise, label): two convolutions, and what they are told in between."""

    def __init__(self, classes: int = 0) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 6, 3, padding=1)
        self.told = nn.Linear(1, 6)
        self.classes = nn.Embedding(classes, 6) if classes else None
        self.last = nn.Conv2d(6, 1, 3, padding=1)

    def forward(self, scaled: Tensor, c_noise: Tensor, label: Tensor | None = None) -> Tensor:
        told = self.told(c_noise[:, None])  # (B, 1) -> (B, 6)
        if self.classes is not None:
            told = told + self.classes(label)
        answer: Tensor = self.last(torch.tanh(self.first(scaled) + told[:, :, None, None]))
        return answer


@dataclass(frozen=True)
class EDMSchedule:
    """x_t = x + sigma eps at the levels that EDM samples by (Karras et al. 2022, eq. 5)."""

    num_timesteps: int = 20
    smallest: float = 0.002
    largest: float = 80.0
    rho: float = 7.0

    @property
    def identity(self) -> str:
        return f"EDM {dataclasses.astuple(self)}"

    def sigma(self, timesteps: Tensor) -> Tensor:
        low, high = self.smallest ** (1 / self.rho), self.largest ** (1 / self.rho)
        level: Tensor = low + timesteps.double() / (self.num_timesteps - 1) * (high - low)
        return level.pow(self.rho)

    def noisy_and_target(
        self, image: Tensor, noise: Tensor, timesteps: Tensor
    ) -> tuple[Tensor, Tensor]:
        sigma = self.sigma(timesteps)[:, None, None, None].to(noise.dtype)
        return image + sigma * noise, image.expand_as(noise)

    def network_times(self, timesteps: Tensor) -> Tensor:
        return self.sigma(timesteps)

    def elbo_weight(self, timesteps: Tensor) -> Tensor:
        return torch.full((len(timesteps),), math.nan, dtype=torch.float64)


def preconditioned(network: nn.Module, noisy: Tensor, sigma: Tensor, told: NetworkInputs) -> Tensor:
    """Return D = c_skip x + c_out F(c_in x, c_noise) (Karras et al. 2022, eq. 7, table 1)."""
    sigma = sigma[:, None, None, None].to(noisy.dtype)
    total = sigma**2 + SIGMA_DATA**2
    skip, out = SIGMA_DATA**2 / total, sigma * SIGMA_DATA / total.sqrt()
    answer: Tensor = network(
        noisy / total.sqrt(), sigma.flatten().log() / 4, told.get(CLASS_LABELS)
    )
    return skip * noisy + out * answer


def own(classes: int = 0, seed: int = 0) -> Denoiser:
    torch.manual_seed(seed)
    return Denoiser(
        SmallNetwork(classes).eval(),
        EDMSchedule(),
        ImageShape(1, 8, 8),
        preconditioned,
        "SmallNetwork of EDM",
        conditioner=ClassLabels(classes) if classes else None,
    )


@pytest.mark.parametrize("classes", [0, 3], ids=["unconditional", "labelled"])
@pytest.mark.parametrize("kind", ["timestep-batched", "hooked"])
def test_gradients_are_those_of_autograd(kind, classes):
    denoiser, exact = own(classes), own(classes).network.double()
    schedule, noise, timesteps = EDMSchedule(), ImageNoise(0), (2, 13)
    chosen = choose_parameters(denoiser.network, "all")
    task = GradientTask(denoiser, chosen, OutputFunction("simple", schedule), timesteps, noise)
    images, labels = torch.rand(2, 1, 8, 8) * 2 - 1, (2, 0) if classes else None
    rows = []
    for number, image in enumerate(images.double()):
        value = torch.zeros((), dtype=torch.float64)
        for t in timesteps:
            drawn = noise.draw((1, 8, 8), sample_id="", pairs=[(t, 0)], device=image.device)
            sigma = (0.002 ** (1 / 7) + t / 19 * (80 ** (1 / 7) - 0.002 ** (1 / 7))) ** 7
            noisy, total = image[None] + sigma * drawn.double(), sigma**2 + 0.25
            label = torch.tensor([labels[number]]) if labels else None
            level = torch.tensor([math.log(sigma) / 4]).double()
            raw = exact(noisy / math.sqrt(total), level, label)
            answer = 0.25 / total * noisy + 0.5 * sigma / math.sqrt(total) * raw
            value = value + (answer - image).square().mean() / len(timesteps)
        gradients = torch.autograd.grad(value, list(exact.parameters()))
        rows.append(torch.cat([part.flatten() for part in gradients]))
    found = gathered(engine_called(kind, task, frozenset(chosen)), images, ["a", "b"], labels)
    assert_rows_close(found, torch.stack(rows))


def test_the_bound_of_another_family_is_refused():
    with pytest.raises(ConfigurationError, match="no finite weight"):
        OutputFunction("elbo", EDMSchedule()).refuse_timesteps((3,))


def sources_of_classes(root: Path) -> tuple[Path, Path]:
    for number, name in enumerate(("cat", "dog", "owl")):
        save_images(root / "train" / name, random_pixels(2, seed=number))
        save_images(root / "query" / name, random_pixels(1, seed=number))
    return root / "train", root / "query"


@pytest.mark.parametrize("classes", [0, 3], ids=["unconditional", "labelled"])
def test_it_is_attributed_from_images_to_the_report(tmp_path, classes):
    sources = sources_of_classes(tmp_path)
    little = {"damping": "0.001"}
    config = job(EMBEDDED_MODEL, sources, tmp_path / "run", scores=little, timesteps="list:3,12")
    result = dtrak_stream.attribute(config, denoiser=own(classes))
    found = datasets(result.scores)
    assert (result.path, result.quarantined) == (config.run / "report" / "index.html", 0)
    # every query is the first training image of its class as well
    assert found["scores"].argmax(1).tolist() == [0, 2, 4]
    record = yaml.safe_load((config.run / "config.yaml").read_text())
    assert record["model"] == "python:SmallNetwork of EDM"
    before = results_of(config.run)
    dtrak_stream.attribute(config, denoiser=own(classes))
    assert results_of(config.run) == before
    with pytest.raises(FingerprintMismatchError, match="weights"):
        dtrak_stream.attribute(config, denoiser=own(classes, seed=1))
    with pytest.raises(InputError, match="given from Python; give it there again"):
        dtrak_stream.attribute(dataclasses.replace(config, model=record["model"]))


@pytest.mark.parametrize("classes", [0, 3], ids=["unconditional", "labelled"])
def test_its_run_is_planned_and_rows_are_computed_again(tmp_path, classes, capsys):
    config = job(EMBEDDED_MODEL, sources_of_classes(tmp_path), tmp_path / "run", timesteps="list:3")
    stages = dtrak_stream.plan(
        PlanConfig(6, 3, run=config.run, measured_images=2, features=config.features),
        denoiser=own(classes),
    ).stages
    assert not config.run.exists()
    dtrak_stream.attribute(config, denoiser=own(classes))
    disk = sum(each.stat().st_size for each in (config.run / "train" / "shards").iterdir())
    assert disk <= stages[0].disk
    assert stages[0].seconds
    asked = VerifyConfig(config.run, deep=3, train=config.train, query=config.query, quiet=True)
    told = dtrak_stream.verify(asked, denoiser=own(classes))
    assert told.checked == 4
    assert capsys.readouterr().err.count("3 rows computed again") == 2
    with pytest.raises(DtrakStreamError, match="2 of its parts have a fault: query, train"):
        dtrak_stream.verify(asked, denoiser=own(classes, seed=1))
    assert capsys.readouterr().err.count("weights differs") == 2


def test_a_model_that_nothing_is_computed_with_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="only computes rows again"):
        dtrak_stream.verify(VerifyConfig(tmp_path), denoiser=own())
    with pytest.raises(ConfigurationError, match="is given from Python besides"):
        dtrak_stream.verify(VerifyConfig(tmp_path, deep=2, model="runs/mine"), denoiser=own())
    with pytest.raises(ConfigurationError, match="is given from Python besides"):
        dtrak_stream.plan(PlanConfig(model="runs/mine"), denoiser=own())


def featurize(tmp_path: Path, denoiser: Denoiser, model: str = EMBEDDED_MODEL, **options) -> None:
    config = job(model, sources_of_classes(tmp_path), tmp_path, timesteps="list:0,12", **options)
    store = tmp_path / "new" / "store"
    asked = FeaturizeConfig(config.train, store, model, features=config.features, quiet=True)
    dtrak_stream.featurize(asked, denoiser=denoiser)


def in_training() -> Denoiser:
    denoiser = own()
    denoiser.network.train()
    return denoiser


@pytest.mark.parametrize(
    ("denoiser", "options", "error", "words"),
    [
        (own(), {"model": "runs/mine"}, ConfigurationError, "is given from Python besides"),
        (own(), {"lora": ("x",)}, ConfigurationError, "lora: is about reading a model from its"),
        (own(), {"size": 16}, ConfigurationError, "size: is about reading a model from its"),
        (own(), {"device": "meta"}, ConfigurationError, "the model that is given is on cpu"),
        (in_training(), {}, ModelError, "in training mode; call network.eval"),
        (dataclasses.replace(own(), learns_variance=True), {}, ModelError, "2x8x8 are wanted"),
        (own(2), {}, InputError, "2 images have a class label .* 2 is not one of the model's"),
        (own(), {"output_function": "elbo"}, ConfigurationError, "no finite weight at timestep"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    tmp_path, denoiser, options, error, words
):
    with pytest.raises(DtrakStreamError, match=words) as refusal:
        featurize(tmp_path, denoiser, **options)
    assert type(refusal.value) is error
    assert not (tmp_path / "new").exists()


def test_a_given_network_is_left_where_it_was_with_its_weights(tmp_path):
    denoiser = own()
    before = {name: each.clone() for name, each in denoiser.network.state_dict().items()}
    featurize(tmp_path, denoiser, precision="bfloat16", parameters="last")
    for name, each in denoiser.network.state_dict().items():
        assert (each.dtype, torch.equal(each, before[name])) == (torch.float32, True)
    assert not denoiser.network.training
    assert [hook for each in denoiser.network.modules() for hook in each._forward_hooks] == []
    images = SampleBatch(("a",), torch.zeros(1, 1, 8, 8))
    assert denoiser.encoded(images).inputs == {}
