"""Rows of the table of families, and networks that no row knows."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import DDPMScheduler, UNet2DModel

from dtrak_stream.data.options import ImageShape
from dtrak_stream.data.samples import SampleBatch
from dtrak_stream.errors import ConfigurationError, ModelError
from dtrak_stream.gradients.task import GradientTask
from dtrak_stream.model import families
from dtrak_stream.model.denoiser import Denoiser
from dtrak_stream.model.forward_passes import predict_by_unet
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.model.network_files import network_outline
from dtrak_stream.model.parameters import choose_parameters
from dtrak_stream.model.schedule import DDPMSchedule
from dtrak_stream.objective.noise import ImageNoise
from dtrak_stream.objective.output_functions import OutputFunction
from tests.conftest import build_unet, save_model
from tests.gradients.networks import assert_rows_close, engine_called, gathered
from tests.model.flow_pipelines import FLOW_PIPELINES
from tests.model.folders import editing, pipeline, unet_with
from tests.model.pipelines import PIPELINES
from tests.model.text_pipelines import TEXT_PIPELINES


def test_another_row_is_all_that_another_family_takes(tmp_path, monkeypatch, model_folder):
    """A pipeline whose denoiser is called otherwise, and answers twice as much."""
    folder = Path(shutil.copytree(model_folder, tmp_path / "m"))
    index = json.loads((folder / "model_index.json").read_text())
    index["unet"] = ["elsewhere", "TwiceModel"]
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match="TwiceModel"):
        load_denoiser(str(folder))
    row = dataclasses.replace(
        families.FAMILIES[0],
        class_name="TwiceModel",
        outline=lambda _, folder: network_outline("UNet2DModel", folder),
        predict=lambda *asked: 2 * predict_by_unet(*asked),
    )
    monkeypatch.setattr(families, "FAMILIES", (*families.FAMILIES, row))
    noisy, timesteps = torch.randn(2, 1, 8, 8), torch.tensor([3, 900])
    plain, twice = load_denoiser(model_folder), load_denoiser(str(folder))
    assert torch.equal(twice.predict(noisy, timesteps), 2 * plain.predict(noisy, timesteps))
    assert twice.identity.startswith("TwiceModel predicting epsilon")


ONE_OF_EACH = ("ddpm", "ldm-kl", "dit", "sd", "sdxl", "pixart", "sd3-without-t5", "flux-dev")


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_a_wrong_scheduler_is_refused_before_any_weight_is_read(tmp_path, name):
    row = (PIPELINES | TEXT_PIPELINES | FLOW_PIPELINES)[name]
    folder = Path(row.save(tmp_path))
    for file in folder.rglob("*.safetensors"):
        file.write_bytes(b"none")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_denoiser(str(folder), row.options)
    with editing(folder / "scheduler" / "scheduler_config.json") as config:
        config["_class_name"] = "SomeoneElsesScheduler"
    with pytest.raises(ModelError, match="SomeoneElsesScheduler is not of"):
        load_denoiser(str(folder), row.options)


def options_of(unet):
    return {name: value for name, value in unet.config.items() if not name.startswith("_")}


def test_a_class_conditional_model_is_asked_with_its_labels(labelled):
    denoiser = load_denoiser(labelled)
    assert denoiser.conditioned_on == "class label"
    assert "a label of 4 classes" in denoiser.description
    images, times = torch.rand(3, 1, 8, 8) * 2 - 1, torch.tensor([3, 500, 900])
    samples = denoiser.encoded(SampleBatch(("a", "b", "c"), images, (3, 0, 3)))
    expected = denoiser.network(images, times, class_labels=torch.tensor([3, 0, 3])).sample
    assert torch.equal(denoiser.predict(images, times, samples.inputs), expected)
    for labels, words in (((4,), "4 is not one of"), ((-1,), "-1 is not"), (("a",), "'a' is not")):
        with pytest.raises(ConfigurationError, match=words):
            denoiser.encoded(SampleBatch(("a",), images[:1], labels))
    with pytest.raises(ConfigurationError, match="wants a class label of each sample"):
        denoiser.encoded(SampleBatch(("a",), images[:1]))
    with pytest.raises(ConfigurationError, match="to be told a class label"):
        denoiser.predict(images, times)


@pytest.mark.parametrize("kind", ["timestep-batched", "hooked"])
def test_gradients_of_a_class_conditional_model_are_those_of_autograd(labelled, kind):
    denoiser, exact = load_denoiser(labelled), load_denoiser(labelled, dtype=torch.float64)
    chosen, noise = choose_parameters(denoiser.network, "all"), ImageNoise(0)
    schedule = denoiser.schedule
    task = GradientTask(denoiser, chosen, OutputFunction("simple", schedule), (700,), noise)
    images, labels = torch.rand(2, 1, 8, 8) * 2 - 1, (2, 1)
    drawn = noise.draw((1, 8, 8), sample_id="", pairs=[(700, 0)], device=images.device).double()
    rows = []
    for image, label in zip(images, labels, strict=True):
        noisy, target = schedule.noisy_and_target(image[None].double(), drawn, torch.tensor([700]))
        answer = exact.network(noisy, 700, class_labels=torch.tensor([label])).sample
        gradients = torch.autograd.grad(
            (answer - target).square().mean(), list(exact.network.parameters())
        )
        rows.append(torch.cat([part.flatten() for part in gradients]))
    engine = engine_called(kind, task, frozenset(chosen))
    assert_rows_close(gathered(engine, images, ["a", "b"], labels), torch.stack(rows))


def test_a_model_that_is_told_numbers_that_are_no_labels_is_refused(tmp_path):
    unet = UNet2DModel(**{**options_of(build_unet()), "class_embed_type": "timestep"})
    folder = save_model(tmp_path / "m", unet)
    with pytest.raises(ModelError, match="class_embed_type 'timestep' is told numbers"):
        load_denoiser(folder)


@pytest.mark.parametrize("kind", ["timestep-batched", "hooked"])
def test_height_and_width_of_a_model_stay_apart(tmp_path, kind):
    folder = str(pipeline(tmp_path / "m", unet_with(sample_size=(8, 12))))
    denoiser, exact = load_denoiser(folder), load_denoiser(folder, dtype=torch.float64)
    assert denoiser.image_shape == ImageShape(1, 8, 12)
    schedule = denoiser.schedule
    chosen = choose_parameters(denoiser.network, "all")
    function, noise = OutputFunction("simple", schedule), ImageNoise(0)
    task = GradientTask(denoiser, chosen, function, (700,), noise)
    image = torch.rand(1, 1, 8, 12) * 2 - 1
    drawn = noise.draw((1, 8, 12), sample_id="", pairs=[(700, 0)], device=image.device).double()
    noisy, target = schedule.noisy_and_target(image.double(), drawn, torch.tensor([700]))
    error = (exact.network(noisy, 700).sample - target).square().mean()
    gradients = torch.autograd.grad(error, list(exact.network.parameters()))
    found = gathered(engine_called(kind, task, frozenset(chosen)), image, ["a"])
    assert_rows_close(found, torch.cat([part.flatten() for part in gradients])[None])


class Own(torch.nn.Module):
    """A denoiser as nobody else calls one: noise levels first, the image by name."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, level, *, image):
        return {"answer": self.layer(image) * level[:, None, None, None]}


@pytest.mark.parametrize("kind", ["timestep-batched", "hooked"])
def test_any_module_with_a_schedule_is_differentiated(kind):
    torch.manual_seed(0)
    schedule = DDPMSchedule.of(DDPMScheduler())
    own = Own().eval()
    denoiser = Denoiser(
        own,
        schedule,
        ImageShape(1, 5, 7),
        lambda network, noisy, t, _: network(t / 1000, image=noisy)["answer"],
        "Own",
        "given from Python",
    )
    chosen = choose_parameters(own, "all")
    task = GradientTask(
        denoiser, chosen, OutputFunction("square", schedule), (100, 700), ImageNoise(0)
    )
    images = torch.rand(2, 1, 5, 7) * 2 - 1
    engine = engine_called(kind, task, frozenset(chosen))
    rows = []
    for image in images:
        value = torch.zeros(())
        for t in (100, 700):
            noise = task.noise.draw((1, 5, 7), sample_id="", pairs=[(t, 0)], device=image.device)
            kept = schedule.alphas_cumprod[t].float()
            answer = own.layer(kept.sqrt() * image[None] + (1 - kept).sqrt() * noise) * t / 1000
            value = value + answer.square().mean() / 2
        gradients = torch.autograd.grad(value, list(own.parameters()))
        rows.append(torch.cat([part.flatten() for part in gradients]))
    assert_rows_close(gathered(engine, images, ["a", "b"]), torch.stack(rows))


def test_conditions_are_refused_by_a_model_that_takes_none(model_folder):
    denoiser = load_denoiser(model_folder)
    with pytest.raises(ConfigurationError) as refusal:
        denoiser.encoded(SampleBatch(("a",), torch.zeros(1, 1, 8, 8), (3,)))
    assert str(refusal.value) == (
        "UNet2DModel: the samples are of something (3), and the model takes no condition; "
        "give samples without conditions"
    )
