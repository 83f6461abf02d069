"""What a FluxTransformer2DModel takes and is told, and which are refused."""

from __future__ import annotations

import pytest
import torch

from dtrak_stream.data.options import ImageShape
from dtrak_stream.errors import ConfigurationError, ModelError
from dtrak_stream.features.options import FeatureOptions
from dtrak_stream.generation.sampler import Sampler
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.model.options import LoadingOptions
from tests.model.flow_pipelines import OPTIONS, flux, flux_network
from tests.model.folders import editing, pipeline
from tests.model.text_pipelines import SIZE, pixart, stable_diffusion

CPU = torch.device("cpu")
SIZED = LoadingOptions(size=SIZE)


@pytest.fixture
def folder(tmp_path):
    flux(tmp_path)
    return tmp_path / "pipeline"


def conditioner_of(folder, options):
    conditioner = load_denoiser(str(folder), options).conditioner
    assert conditioner is not None
    return conditioner


def test_the_size_has_to_be_given(folder):
    with pytest.raises(ConfigurationError, match=r"does not say how large.*--size 512"):
        load_denoiser(str(folder))
    assert load_denoiser(str(folder), LoadingOptions(size=24)).sample_shape == ImageShape(4, 12, 12)
    with pytest.raises(ConfigurationError, match="--size: makes latents 9 wide, which cannot be"):
        load_denoiser(str(folder), LoadingOptions(size=18))


def test_levels_are_shifted_for_the_tokens_of_that_size(folder):
    small, large = (
        load_denoiser(str(folder), LoadingOptions(size=size)) for size in (SIZE, 2 * SIZE)
    )
    assert "shifted for 16 tokens" in small.description
    assert "shifted for 64 tokens" in large.description
    assert small.schedule.identity != large.schedule.identity


def test_a_guidance_is_told_to_a_network_that_was_distilled_with_it(folder, tmp_path):
    usual = conditioner_of(folder, OPTIONS)
    assert usual.inputs(("a", "b"), CPU)["guidance"].tolist() == [3.5, 3.5]
    given = conditioner_of(folder, LoadingOptions(size=SIZE, t5_tokens=5, guidance=1.0))
    assert given.inputs(("a", "b"), CPU)["guidance"].tolist() == [1.0, 1.0]
    assert usual.identity != given.identity
    flux_network(guidance_embeds=False).save_pretrained(folder / "transformer")
    with pytest.raises(ConfigurationError, match=r"--guidance 1: .*not distilled with guidance"):
        load_denoiser(str(folder), LoadingOptions(size=SIZE, guidance=1.0))
    assert "guidance" not in conditioner_of(folder, OPTIONS).inputs(("a",), CPU)


def test_t5_reads_512_tokens_and_256_of_what_is_distilled_without_guidance(folder):
    assert conditioner_of(folder, SIZED).description.endswith("T5EncoderModel (512 tokens)")
    flux_network(guidance_embeds=False).save_pretrained(folder / "transformer")
    assert conditioner_of(folder, SIZED).description.endswith("T5EncoderModel (256 tokens)")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"in_channels": 32, "out_channels": 16}, "takes 32 channels and answers 16"),
        ({"in_channels": 10}, "patch_size 1 and 10 channels: its tokens are no squares"),
        ({"in_channels": 12}, "its latents have 4, and the network takes 3"),
        ({"patch_size": 2}, "patch_size 2 and 16 channels"),
    ],
)
def test_networks_that_take_something_else_are_refused(folder, options, words):
    flux_network(**options).save_pretrained(folder / "transformer")
    with pytest.raises(ModelError, match=words):
        load_denoiser(str(folder), OPTIONS)


def test_a_pipeline_that_edits_images_is_refused(folder):
    with editing(folder / "model_index.json") as index:
        index["_class_name"] = "FluxKontextPipeline"
    with pytest.raises(ModelError, match="a FluxKontextPipeline is told an image too"):
        load_denoiser(str(folder), OPTIONS)


def test_options_of_other_families_are_refused(tmp_path):
    stable_diffusion(tmp_path / "sd")
    pixart(tmp_path / "pixart")
    pipeline(tmp_path / "ddpm")
    for folder, words in (
        ("sd/pipeline", "--t5-tokens: not used, a UNet2DConditionModel"),
        ("ddpm", "--t5-tokens: not used, a UNet2DModel is told no such thing"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            load_denoiser(str(tmp_path / folder), LoadingOptions(t5_tokens=5))
    told = conditioner_of(tmp_path / "pixart" / "pipeline", LoadingOptions(t5_tokens=5))
    assert told.inputs(("cat",), CPU)["encoder_hidden_states"].shape[1] == 5


@pytest.mark.parametrize("guidance", [-1.0, float("nan"), float("inf")])
def test_what_is_no_strength_of_guidance_is_refused(guidance):
    with pytest.raises(ConfigurationError, match="must be a number, 0 or above"):
        FeatureOptions(guidance=guidance)


def test_images_are_not_generated_by_samplers_of_another_noise(folder):
    with pytest.raises(ConfigurationError, match="make its images with the pipeline"):
        Sampler(load_denoiser(str(folder), OPTIONS), "ddim", 2, 0.0, 0)
