"""What an SD3Transformer2DModel takes and is told, and which are refused."""

from __future__ import annotations

import pytest
import torch

from dtrak_stream.data.options import ImageShape
from dtrak_stream.errors import ConfigurationError, ModelError
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.model.options import LoadingOptions
from tests.model.flow_pipelines import OPTIONS, T5_TOKENS, WIDTH, sd3, sd3_network
from tests.model.folders import editing
from tests.model.text_pipelines import TOKENS, clip_text

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path):
    sd3(tmp_path)
    return tmp_path / "pipeline"


def test_the_size_is_that_of_its_configuration_or_the_one_that_is_given(folder):
    assert load_denoiser(str(folder)).sample_shape == ImageShape(4, 8, 8)
    larger = load_denoiser(str(folder), LoadingOptions(size=24))
    assert larger.sample_shape == ImageShape(4, 12, 12)
    assert larger.image_shape == ImageShape(3, 24, 24)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (18, "latents 9 wide cannot be cut into patches of 2"),
        (52, "latents 26 wide have more places than it knows, and 24 have as many"),
    ],
)
def test_sizes_that_it_does_not_take_are_refused(folder, size, words):
    with pytest.raises(ConfigurationError, match=f"--size: {words}"):
        load_denoiser(str(folder), LoadingOptions(size=size))
    with editing(folder / "transformer" / "config.json") as config:
        config["sample_size"] = size // 2
    with pytest.raises(ModelError, match=words):
        load_denoiser(str(folder))


def test_t5_reads_as_much_as_in_the_pipeline_or_as_is_given(folder):
    usual = load_denoiser(str(folder)).conditioner
    given = load_denoiser(str(folder), OPTIONS).conditioner
    assert usual is not None
    assert given is not None
    assert usual.inputs(("cat",), CPU)["encoder_hidden_states"].shape == (1, TOKENS + 256, WIDTH)
    assert given.inputs(("cat",), CPU)["encoder_hidden_states"].shape[1] == TOKENS + T5_TOKENS
    assert usual.identity != given.identity
    assert usual.description.endswith("and T5EncoderModel (256 tokens)")


def test_captions_that_t5_reads_are_not_cut(folder):
    text = "a red cat and a dog"  # longer than both CLIPs read
    usual = load_denoiser(str(folder)).conditioner
    given = load_denoiser(str(folder), OPTIONS).conditioner
    assert usual is not None
    assert given is not None
    for conditioner in (usual, given):
        conditioner.inputs((text,), CPU)
    assert usual.remarks() == []
    assert "longer than the 5 tokens" in given.remarks()[0]


def test_zeros_in_place_of_t5_are_told_and_part_of_the_identity(tmp_path):
    sd3(tmp_path, t5=False)
    folder = str(tmp_path / "pipeline")
    usual, given = (load_denoiser(folder, each).conditioner for each in (None, OPTIONS))
    assert usual is not None
    assert given is not None
    assert usual.description.endswith("without T5 (256 tokens of zeros)")
    assert usual.inputs(("cat",), CPU)["encoder_hidden_states"].shape == (1, TOKENS + 256, WIDTH)
    assert usual.identity != given.identity


def test_text_encoders_that_are_too_wide_for_its_network_are_refused(folder):
    clip_text(20, 1, projected=True).save_pretrained(folder / "text_encoder")
    with pytest.raises(ModelError, match="answer 32 numbers for a token, and its network reads 24"):
        load_denoiser(str(folder))


def test_networks_that_are_told_more_than_a_caption_are_refused(folder):
    with editing(folder / "model_index.json") as index:
        index["controlnet"] = ["diffusers", "SD3ControlNetModel"]
    with pytest.raises(ModelError, match=r"has a controlnet \(SD3ControlNetModel\)"):
        load_denoiser(str(folder))
    with editing(folder / "model_index.json") as index:
        del index["controlnet"]
    sd3_network(in_channels=9).save_pretrained(folder / "transformer")
    with pytest.raises(ModelError, match="takes 9 channels and answers 4"):
        load_denoiser(str(folder))


def test_a_guidance_is_told_to_no_network_of_sd3(folder):
    with pytest.raises(
        ConfigurationError, match=r"--guidance: not used, a SD3.*told no such thing"
    ):
        load_denoiser(str(folder), LoadingOptions(guidance=3.0))
