"""Text-to-image families: gradients and losses of training, and networks that are told more."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import pytest
import torch
from torch import Tensor

from dtrak_stream.data.samples import SampleBatch
from dtrak_stream.errors import ConfigurationError, ModelError
from dtrak_stream.evaluation.losses import LossMeter
from dtrak_stream.evaluation.options import LossOptions
from dtrak_stream.gradients.task import GradientTask
from dtrak_stream.model.layout import deciding_files
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.model.parameters import choose_parameters
from dtrak_stream.objective.noise import ImageNoise
from dtrak_stream.objective.output_functions import OutputFunction
from tests.gradients.networks import assert_rows_close, engine_called, flat_gradient, gathered
from tests.model.folders import editing
from tests.model.text_pipelines import (
    MAKERS,
    SIZE,
    TEXTS,
    clip_text,
    stable_diffusion,
    stable_diffusion_xl,
    unet,
)

CPU = torch.device("cpu")
TIMESTEPS = (20, 700)
IDS = ["a", "b", "c"]
Sizes: TypeAlias = tuple[int, ...]
UNCUT = (SIZE, SIZE, 0, 0, SIZE, SIZE)
NO_GUIDANCE = {"do_classifier_free_guidance": False, "num_images_per_prompt": 1}


class Family(NamedTuple):
    name: str
    pipeline: Any
    folder: str


@pytest.fixture(scope="module", params=MAKERS)
def family(request, tmp_path_factory) -> Family:
    folder = tmp_path_factory.mktemp("family")
    pipeline = MAKERS[request.param](folder)
    return Family(request.param, pipeline, str(folder / "pipeline"))


def network_of(pipeline: Any) -> Any:
    return copy.deepcopy(getattr(pipeline, "transformer", None) or pipeline.unet).double()


def images() -> Tensor:
    return torch.rand(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1


@torch.no_grad()
def latents_of(pipeline: Any) -> Tensor:
    """Return what a training script mixes noise into."""
    vae = copy.deepcopy(pipeline.vae).double()
    found: Tensor = vae.encode(images().double()).latent_dist.mode() * vae.config.scaling_factor
    return found


def answer(
    family: Family, network: Any, noisy: Tensor, time: Tensor, text: str, sizes: Sizes = UNCUT
) -> Tensor:
    """Return the prediction (1, C, H, W), asked for as training scripts and pipelines do."""
    pipeline = family.pipeline
    with torch.no_grad():
        if family.name.startswith("pixart"):
            prompt, mask, *_ = pipeline.encode_prompt(text, **NO_GUIDANCE)
        else:
            prompt, *others = pipeline.encode_prompt(text, device=CPU, **NO_GUIDANCE)
    if family.name == "sdxl":
        added = {"text_embeds": others[1].double(), "time_ids": torch.tensor([sizes]).double()}
        found = network(noisy, time, prompt.double(), added_cond_kwargs=added).sample
    elif family.name.startswith("sd"):
        found = network(noisy, time, prompt.double()).sample
    else:
        shape = torch.tensor([[SIZE, SIZE]]).double(), torch.ones(1, 1).double()
        told = shape if family.name == "pixart-shape" else (None, None)
        found = network(
            noisy,
            encoder_hidden_states=prompt.double(),
            encoder_attention_mask=mask,
            timestep=time,
            added_cond_kwargs=dict(zip(("resolution", "aspect_ratio"), told)),
        ).sample
        found = found.chunk(2, dim=1)[0]
    assert isinstance(found, Tensor)
    return found


def loss(family: Family, network: Any, clean: Tensor, text: str, sizes: Sizes = UNCUT) -> Tensor:
    """Return the mean squared error over timesteps of one sample, by diffusers alone."""
    scheduler, errors = family.pipeline.scheduler, []
    for timestep in TIMESTEPS:
        noise = ImageNoise(0).draw(
            (4, SIZE // 2, SIZE // 2), sample_id="", pairs=[(timestep, 0)], device=CPU
        )
        noise, time = noise.double(), torch.tensor([timestep])
        noisy = scheduler.add_noise(clean[None], noise, time)
        target = scheduler.get_velocity(clean[None], noise, time) if "-v" in family.name else noise
        found = answer(family, network, noisy, time, text, sizes)
        errors.append(torch.nn.functional.mse_loss(found, target))
    return torch.stack(errors).mean()


def gradients_of_script(
    family: Family, texts: tuple[str, ...], sizes: tuple[Sizes, ...] = (UNCUT, UNCUT, UNCUT)
) -> Tensor:
    network, rows = network_of(family.pipeline).requires_grad_(True), []
    parameters = list(network.parameters())
    for clean, text, told in zip(latents_of(family.pipeline), texts, sizes):
        rows.append(flat_gradient(loss(family, network, clean, text, told), parameters))
    return torch.stack(rows)


@pytest.mark.parametrize("kind", ["timestep-batched", "hooked"])
def test_gradients_are_those_of_the_loss_of_training_under_the_own_caption(family, kind):
    denoiser = load_denoiser(family.folder)
    chosen = choose_parameters(denoiser.network, "all")
    function = OutputFunction("simple", denoiser.schedule)
    task = GradientTask(denoiser, chosen, function, TIMESTEPS, ImageNoise(0))
    found = gathered(engine_called(kind, task), images(), IDS, TEXTS)
    assert_rows_close(found, gradients_of_script(family, TEXTS))
    others = gradients_of_script(family, ("another text", *TEXTS[1:]))[0]
    assert (found[0] - others).norm() > 1e-3 * others.norm()


@torch.no_grad()
def test_losses_are_those_of_training(family):
    denoiser, network = load_denoiser(family.folder), network_of(family.pipeline)
    options = LossOptions(loss_timesteps="list:20,700", loss_draws=1, loss_seed=0)
    found = LossMeter(denoiser, options).of_batch(SampleBatch(tuple(IDS), images(), TEXTS))
    for measured, clean, text in zip(found, latents_of(family.pipeline), TEXTS):
        assert measured == pytest.approx(float(loss(family, network, clean, text)), rel=1e-5)


def test_what_reads_captions_is_described_weighed_and_part_of_the_identity(family):
    denoiser = load_denoiser(family.folder)
    assert denoiser.conditioned_on == "caption"
    assert denoiser.conditioner is not None
    assert f", {denoiser.conditioner.description}, predicts" in denoiser.description
    assert denoiser.identity.endswith(f", told {denoiser.conditioner.identity}")
    parts = (family.pipeline.components[name] for name in family.pipeline.components)
    modules = [each for each in parts if isinstance(each, torch.nn.Module)]
    weights = sum(each.numel() for module in modules for each in module.parameters())
    assert denoiser.weight_bytes == 4 * weights


def test_images_without_captions_are_refused(family):
    with pytest.raises(ConfigurationError, match="wants a caption of each sample"):
        load_denoiser(family.folder).encoded(SampleBatch(tuple(IDS), images()))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"class_embed_type": "timestep"}, "class_embed_type 'timestep'"),
        ({"num_class_embeds": 3}, "num_class_embeds 3"),
        ({"time_cond_proj_dim": 8}, "time_cond_proj_dim 8"),
        ({"encoder_hid_dim": 8, "encoder_hid_dim_type": "text_proj"}, "'text_proj': it is told"),
        ({"addition_embed_type": "text", "encoder_hid_dim": None}, "addition_embed_type 'text'"),
        ({"in_channels": 9}, "takes 9 channels and answers 4"),
        ({"sample_size": None}, "sample_size None does not say"),
    ],
)
def test_a_network_that_is_told_more_than_a_caption_is_refused(options, words, tmp_path):
    if options.get("addition_embed_type"):
        options = {**options, "addition_embed_type_num_heads": 2}
    stable_diffusion(tmp_path)
    unet(8, **options).save_pretrained(tmp_path / "pipeline" / "unet")
    with pytest.raises(ModelError, match=words):
        load_denoiser(str(tmp_path / "pipeline"))


def test_a_refiner_and_other_pooled_texts_are_refused(tmp_path):
    stable_diffusion_xl(tmp_path, projection=10 + 5 * 4)
    with pytest.raises(ModelError, match="told 5 numbers besides 10 of a text, and 6 are of sizes"):
        load_denoiser(str(tmp_path / "pipeline"))


def test_a_second_text_encoder_that_the_network_is_not_told_of_is_refused(tmp_path):
    stable_diffusion(tmp_path)
    folder = tmp_path / "pipeline"
    clip_text(8, 2, projected=True).save_pretrained(folder / "text_encoder_2")
    with editing(folder / "model_index.json") as index:
        index["text_encoder_2"] = ["transformers", "CLIPTextModelWithProjection"]
    with pytest.raises(ModelError, match="has a text_encoder_2, which its network is not told of"):
        load_denoiser(str(folder))


def test_a_text_encoder_of_another_width_is_refused(tmp_path):
    stable_diffusion(tmp_path)
    clip_text(12, 1).save_pretrained(tmp_path / "pipeline" / "text_encoder")
    with pytest.raises(ModelError, match="does not answer for a sample"):
        load_denoiser(str(tmp_path / "pipeline"))


def test_what_a_network_alone_is_told_by_decides_what_it_is(tmp_path):
    stable_diffusion(tmp_path)
    folder = tmp_path / "pipeline"
    names = {path.relative_to(folder).as_posix() for path in deciding_files(folder / "unet")}
    assert {"text_encoder/model.safetensors", "tokenizer/tokenizer_config.json"} <= names
    assert {"vae/config.json", "model_index.json", "scheduler/scheduler_config.json"} <= names
    assert not any(name.startswith("unet/") for name in names)
    assert deciding_files(folder) == []


def test_a_network_alone_finds_its_texts_in_the_pipeline_around_it(tmp_path):
    stable_diffusion(tmp_path)
    whole = load_denoiser(str(tmp_path / "pipeline"))
    alone = load_denoiser(str(tmp_path / "pipeline" / "unet"))
    assert alone.identity == whole.identity
    (tmp_path / "pipeline" / "model_index.json").unlink()
    with pytest.raises(ModelError, match="no vae"):
        load_denoiser(str(Path(tmp_path) / "pipeline" / "unet"))
