"""Images of models of latents, and of classes: those of the families' own pipelines."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DiTPipeline, LDMPipeline

from dtrak_stream.data.images import open_images
from dtrak_stream.errors import ConfigurationError, FingerprintMismatchError
from dtrak_stream.generation.run import generate
from dtrak_stream.generation.sampler import Sampler
from dtrak_stream.generation.seeds import ImageSeeds
from dtrak_stream.model.loading import load_denoiser
from tests.generation.small_runs import config_of, made
from tests.model.folders import editing_weights
from tests.model.pipelines import PIPELINES


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, str]:
    names = ("ldm-vq", "ldm-labels", "dit", "ddpm")
    return {name: PIPELINES[name].save(tmp_path_factory.mktemp(name)) for name in names}


def images_of(sampler: Sampler, count: int) -> np.ndarray:
    """Return images (N, H, W, C) in [0, 1]."""
    return (sampler.sample(range(count)).permute(0, 2, 3, 1).numpy() + 1) / 2


def test_latents_are_decoded_as_the_pipeline_of_latent_diffusion_does(folders):
    ours = Sampler(load_denoiser(folders["ldm-vq"]), "ddim", 4, 0.0, seed=3)
    pipeline = LDMPipeline.from_pretrained(folders["ldm-vq"])
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    generators = ImageSeeds(3).generators(range(3))
    theirs = pipeline(3, generator=generators, num_inference_steps=4, output_type="np").images
    np.testing.assert_allclose(images_of(ours, 3), theirs, rtol=0, atol=1e-5)


def test_classes_take_turns_as_the_pipeline_of_transformers_has_them(folders):
    ours = Sampler(load_denoiser(folders["dit"]), "ddim", 4, 0.0, seed=3, labels=(4, 1))
    pipeline = DiTPipeline.from_pretrained(folders["dit"])
    pipeline.set_progress_bar_config(disable=True)
    generators = ImageSeeds(3).generators(range(3))
    theirs = pipeline(
        [4, 1, 4], 1.0, generator=generators, num_inference_steps=4, output_type="np"
    ).images
    np.testing.assert_allclose(images_of(ours, 3), theirs, rtol=0, atol=1e-5)
    others = Sampler(load_denoiser(folders["dit"]), "ddim", 4, 0.0, seed=3, labels=(4, 2))
    found = images_of(others, 3)
    np.testing.assert_allclose(found[[0, 2]], theirs[[0, 2]], rtol=0, atol=1e-5)
    assert not np.allclose(found[1], theirs[1], atol=1e-3)


def test_a_variance_that_the_scheduler_knows_nothing_of_is_left_out_of_ddpm_steps(folders):
    denoiser = load_denoiser(folders["dit"])
    assert denoiser.learns_variance
    images = Sampler(denoiser, "ddpm", 3, 0.0, seed=0, labels=(0,)).sample(range(2))
    assert images.shape == (2, 3, 16, 16)
    assert torch.isfinite(images).all()


def test_a_run_tells_which_class_each_image_is_of(folders, tmp_path):
    config = config_of(folders["ldm-labels"], tmp_path, labels="3,0", steps=2)
    found = made(config)
    lines = (tmp_path / "metadata.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"file_name": name, "label": label, "seed": ImageSeeds(0).of(number)}
        for number, (name, label) in enumerate(zip(found, [3, 0, 3, 0, 3], strict=True))
    ]
    with pytest.raises(FingerprintMismatchError, match="labels differs: stored '3,0'"):
        generate(config_of(folders["ldm-labels"], tmp_path, labels="3", steps=2), visible=False)


def test_images_of_another_decoder_are_refused(folders, tmp_path):
    model = PIPELINES["ldm-vq"].save(tmp_path / "model")
    made(config_of(model, tmp_path / "out", count=1, steps=2))
    with editing_weights(Path(model) / "vqvae") as weights:
        weights["decoder.conv_in.bias"] += 1
    with pytest.raises(FingerprintMismatchError, match="decoder differs"):
        made(config_of(model, tmp_path / "out", count=1, steps=2))


@pytest.mark.parametrize(
    ("family", "options", "problem"),
    [
        ("ddpm", {"labels": "1"}, "the model has no classes; leave --labels out"),
        ("dit", {}, "is told a label of 5 classes of each image; give --labels, such as 0,1,2"),
        ("dit", {"labels": "5"}, "5 is not one of the model's classes, 0 to 4"),
        ("ldm-vq", {"save_trajectory": True}, "--save-trajectory: paths are those of images"),
    ],
)
def test_what_means_nothing_for_a_model_is_refused(folders, tmp_path, family, options, problem):
    with pytest.raises(ConfigurationError, match=problem):
        generate(config_of(folders[family], tmp_path / "out", **options), visible=False)
    assert not (tmp_path / "out").exists()


def test_labels_that_are_no_numbers_are_refused():
    with pytest.raises(ConfigurationError, match="--labels a,b: is no list of class labels"):
        config_of("model", Path("out"), labels="a,b")


def test_generated_images_are_read_as_of_the_classes_they_were_made_of(folders, tmp_path):
    made(config_of(folders["dit"], tmp_path, labels="3,0", steps=2))
    images = open_images(str(tmp_path), conditioned_on="class label", visible=False)
    assert list(images.conditions(0, 5) or ()) == [3, 0, 3, 0, 3]
