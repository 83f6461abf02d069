"""Images of prompts: those of the families' own pipelines, called by hand with the same seeds."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from dtrak_stream.data.images import open_images
from dtrak_stream.errors import ConfigurationError, FingerprintMismatchError, InterruptedRunError
from dtrak_stream.generation.folder import refuse_changed_images
from dtrak_stream.generation.prompted import PromptedSampler
from dtrak_stream.generation.run import generate
from dtrak_stream.model.loading import load_denoiser
from tests.generation.small_runs import config_of, made
from tests.model.flow_pipelines import FLOW_PIPELINES, T5_TOKENS
from tests.model.flow_pipelines import MAKERS as FLOW_MAKERS
from tests.model.text_pipelines import MAKERS, SIZE, TEXT_PIPELINES

FAMILIES = TEXT_PIPELINES | FLOW_PIPELINES
MADE = sorted(FAMILIES.keys() - {"pixart-shape"})
OF_T5 = {"pixart", "pixart-shape", "sd3", "sd3-without-t5", "sd3.5-medium", "flux-dev"} | {
    "flux-schnell"
}
PROMPTS = ("a red cat", "9 dogs")
STEPS = 2


def told(family: str) -> dict[str, Any]:
    """Return the options of a run that the family has to be told."""
    sized = {"size": SIZE} if family in FLOW_PIPELINES else {}
    return sized | ({"t5_tokens": T5_TOKENS} if family in OF_T5 else {})


def run_of(model: str, out: Path, family: str = "sd", **changes):
    usual = {"count": None, "steps": STEPS, "batch_size": 2, "prompt": PROMPTS, **told(family)}
    return config_of(model, out, **(usual | changes))


def pixels_in(folder: Path) -> np.ndarray:
    return np.stack([np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))])


def lines_in(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]


def by_hand(pipeline, family: str, folder: Path, **changes) -> np.ndarray:
    """Return images of the prompts and seeds in a folder of ours, (N, H, W, C) uint8."""
    lines = lines_in(folder)
    options: dict[str, Any] = {}
    if family.startswith("pixart"):
        options = {"clean_caption": False, "use_resolution_binning": False}
    if family in OF_T5:
        options["max_sequence_length"] = T5_TOKENS
    pictures = pipeline(
        prompt=[line["text"] for line in lines],
        generator=[torch.Generator().manual_seed(line["seed"]) for line in lines],
        num_inference_steps=STEPS,
        height=SIZE,
        width=SIZE,
        **options,
        **changes,
    ).images
    return np.stack([np.asarray(picture) for picture in pictures])


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory):
    """Pipelines by name of the family, as they are and where they are saved, made once."""
    made_once: dict = {}

    def of(family: str):
        if family not in made_once:
            folder = tmp_path_factory.mktemp(family)
            pipeline = (MAKERS | FLOW_MAKERS)[family](folder)
            made_once[family] = pipeline, str(folder / "pipeline")
        return made_once[family]

    return of


@pytest.mark.parametrize("family", MADE)
def test_images_are_those_of_the_familys_own_pipeline(pipelines, tmp_path, family):
    pipeline, folder = pipelines(family)
    config = run_of(folder, tmp_path / "out", family)
    generate(config, visible=False)
    theirs = by_hand(pipeline, family, config.out)
    assert theirs.shape == (2, SIZE, SIZE, 3)
    assert theirs.std() > 1
    np.testing.assert_array_equal(pixels_in(config.out), theirs)


@pytest.mark.parametrize("family", FAMILIES)
def test_usual_guidance_and_steps_are_those_of_the_pipeline(pipelines, family):
    own = load_denoiser(pipelines(family)[1], FAMILIES[family].options).pipeline
    assert own is not None
    row = own.row
    call = inspect.signature(getattr(diffusers, row.class_name).__call__).parameters
    usual = {"steps": call["num_inference_steps"].default, "guidance": call["guidance_scale"]}
    if family == "flux-schnell":
        assert (row.steps, row.guidance) == (4, None)
    else:
        assert (row.steps, row.guidance) == (usual["steps"], usual["guidance"].default)


@pytest.mark.parametrize("family", ["sd", "sdxl", "pixart", "sd3", "flux-dev"])
def test_guidance_is_that_of_the_pipeline(pipelines, tmp_path, family):
    pipeline, folder = pipelines(family)
    generate(run_of(folder, tmp_path / "weak", family, guidance_scale=1.0), visible=False)
    generate(run_of(folder, tmp_path / "strong", family, guidance_scale=9.0), visible=False)
    for name, scale in (("weak", 1.0), ("strong", 9.0)):
        theirs = by_hand(pipeline, family, tmp_path / name, guidance_scale=scale)
        np.testing.assert_array_equal(pixels_in(tmp_path / name), theirs)
    assert (pixels_in(tmp_path / "weak") != pixels_in(tmp_path / "strong")).any()


def test_ddim_with_noise_is_that_of_the_pipeline(pipelines, tmp_path):
    pipeline, folder = pipelines("sd")
    config = run_of(folder, tmp_path / "ddim", sampler="ddim", eta=0.5)
    generate(config, visible=False)
    own = pipeline.scheduler
    pipeline.scheduler = diffusers.DDIMScheduler.from_config(own.config)
    theirs = by_hand(pipeline, "sd", config.out, eta=0.5)
    pipeline.scheduler = own
    np.testing.assert_array_equal(pixels_in(config.out), theirs)
    generate(run_of(folder, tmp_path / "own"), visible=False)
    assert (pixels_in(tmp_path / "own") != theirs).any()


def test_the_scheduler_is_the_one_that_was_saved(tmp_path):
    folder = Path(TEXT_PIPELINES["sd"].save(tmp_path))
    scheduler = diffusers.PNDMScheduler(
        beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1
    )
    scheduler.save_pretrained(folder / "scheduler")
    config = run_of(str(folder), tmp_path / "out", steps=4)
    generate(config, visible=False)
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(folder, scheduler=scheduler)
    pipeline.set_progress_bar_config(disable=True)
    lines = lines_in(config.out)
    generators = [torch.Generator().manual_seed(line["seed"]) for line in lines]
    theirs = pipeline(list(PROMPTS), generator=generators, num_inference_steps=4).images
    theirs = np.stack([np.asarray(picture) for picture in theirs])
    np.testing.assert_array_equal(pixels_in(config.out), theirs)


def test_a_safety_checker_is_never_loaded(tmp_path):
    folder = Path(TEXT_PIPELINES["sd"].save(tmp_path))
    index = json.loads((folder / "model_index.json").read_text())
    checker = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    index |= {"safety_checker": checker, "requires_safety_checker": True}
    (folder / "model_index.json").write_text(json.dumps(index))
    pipeline = load_denoiser(str(folder)).pipeline
    assert pipeline is not None
    assert pipeline.build(pipeline.scheduler()).safety_checker is None
    assert len(made(run_of(str(folder), tmp_path / "out"))) == 2


def test_an_image_is_decided_by_seed_and_number(pipelines, tmp_path):
    _, folder = pipelines("sd")
    three = made(run_of(folder, tmp_path / "three", count=3))
    grown = made(run_of(folder, tmp_path / "grown", count=1))
    grown = made(run_of(folder, tmp_path / "grown", count=3))
    assert grown == three
    assert len(set(three.values())) == 3
    others = made(run_of(folder, tmp_path / "others", count=3, seed=1))
    assert not set(others.values()) & set(three.values())
    generate(run_of(folder, tmp_path / "alone", count=3, batch_size=None), visible=False)
    alone, together = (pixels_in(tmp_path / name).astype(int) for name in ("alone", "three"))
    assert np.abs(alone - together).max() <= 1


def test_an_interrupted_run_goes_on_to_the_same_bytes(pipelines, tmp_path, monkeypatch):
    _, folder = pipelines("flux-dev")
    whole = made(run_of(folder, tmp_path / "whole", "flux-dev", count=4))
    sample = PromptedSampler.sample

    def stopping(self, numbers):
        if numbers.start == 2:
            raise KeyboardInterrupt
        return sample(self, numbers)

    config = run_of(folder, tmp_path / "stopped", "flux-dev", count=4)
    with monkeypatch.context() as patch:
        patch.setattr(PromptedSampler, "sample", stopping)
        with pytest.raises(InterruptedRunError, match="2 of 4 images are saved"):
            generate(config, visible=False)
    assert made(config) == whole


def test_prompts_take_turns_and_are_the_captions_of_the_folder(pipelines, tmp_path):
    _, folder = pipelines("sd")
    config = run_of(folder, tmp_path / "out", count=3)
    names = list(made(config))
    lines = lines_in(config.out)
    assert [line["file_name"] for line in lines] == names
    assert [line["text"] for line in lines] == ["a red cat", "9 dogs", "a red cat"]
    assert len({line["seed"] for line in lines}) == 3
    images = open_images(str(config.out), conditioned_on="caption", visible=False)
    assert list(images.conditions(0, 3) or ()) == ["a red cat", "9 dogs", "a red cat"]


def test_captions_that_were_changed_since_are_refused(pipelines, tmp_path):
    _, folder = pipelines("sd")
    config = run_of(folder, tmp_path / "out")
    generate(config, visible=False)
    refuse_changed_images(config.out)
    metadata = config.out / "metadata.jsonl"
    metadata.write_text(metadata.read_text().replace("red", "blue"))
    with pytest.raises(FingerprintMismatchError, match="told differs"):
        refuse_changed_images(config.out)
    generate(config, visible=False)
    refuse_changed_images(config.out)


def test_a_longer_prompt_than_the_model_reads_is_told(pipelines, tmp_path, capsys):
    _, folder = pipelines("sd")
    config = run_of(folder, tmp_path / "out", prompt=("dogs " * 20,), steps=1)
    generate(config, visible=True)
    assert "1 different caption is longer than the 12 tokens" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"prompt": ("a red cat", "8 dogs")}, "prompts"),
        ({"guidance_scale": 2.0}, "pipeline-options"),
        ({"sampler": "ddim"}, "sampler"),
        ({"size": 2 * SIZE}, "image-shape"),
        ({"steps": 3}, "steps"),
    ],
)
def test_another_run_in_the_same_folder_is_refused(pipelines, tmp_path, changes, field):
    _, folder = pipelines("sd")
    generate(run_of(folder, tmp_path), visible=False)
    with pytest.raises(FingerprintMismatchError) as refused:
        generate(run_of(folder, tmp_path, **changes), visible=False)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("family", "changes", "words"),
    [
        ("sd", {"prompt": ()}, "is told a caption of each image; give --prompt"),
        ("pixart-shape", {}, "is told shapes, which a PixArtAlphaPipeline of diffusers tells only"),
        ("sd", {"labels": "1"}, "--labels: the model is told captions"),
        ("sd", {"steps": 1001}, "--steps 1001: more than the model's 1000"),
        ("sd", {"eta": 0.5}, "--eta 0.5: DDPMScheduler has no such share"),
        ("sd", {"save_trajectory": True}, "--save-trajectory: paths are those of images"),
        ("sd", {"t5_tokens": 5}, "--t5-tokens: not used"),
        ("flux-schnell", {"guidance_scale": 3.0}, "--guidance-scale 3: .*distilled without"),
        ("flux-dev", {"sampler": "ddim"}, "--sampler ddim: the model is one of flow matching"),
        ("flux-dev", {"t5_tokens": 600}, "--t5-tokens 600: must be from 1 to 512"),
        ("flux-dev", {"size": None}, "does not say how large"),
    ],
)
def test_what_means_nothing_for_a_model_is_refused(pipelines, tmp_path, family, changes, words):
    _, folder = pipelines(family)
    with pytest.raises(ConfigurationError, match=words):
        generate(run_of(folder, tmp_path / "out", family, **changes), visible=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prompt": ("a",)}, "--prompt: the model is told no captions"),
        ({"prompt": (), "guidance_scale": 2.0}, "--guidance-scale: there is no guidance"),
        ({"prompt": (), "sampler": "own"}, "--sampler own: the model is sampled by"),
    ],
)
def test_prompts_for_a_model_without_captions_are_refused(model, tmp_path, changes, words):
    with pytest.raises(ConfigurationError, match=words):
        generate(run_of(model, tmp_path / "out", **changes), visible=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("scheduler", "words"),
    [
        (diffusers.DDIMInverseScheduler, "leads from images to noise"),
        (diffusers.DPMSolverMultistepInverseScheduler, "leads from images to noise"),
    ],
)
def test_schedulers_that_make_no_images_are_refused(tmp_path, scheduler, words):
    folder = Path(TEXT_PIPELINES["sd"].save(tmp_path))
    scheduler().save_pretrained(folder / "scheduler")
    with pytest.raises(ConfigurationError, match=words):
        generate(run_of(str(folder), tmp_path / "out"), visible=False)
    assert len(made(run_of(str(folder), tmp_path / "out", sampler="ddim"))) == 2


def test_a_flow_that_draws_noise_is_refused(tmp_path):
    folder = Path(FLOW_PIPELINES["sd3"].save(tmp_path))
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(stochastic_sampling=True)
    scheduler.save_pretrained(folder / "scheduler")
    with pytest.raises(ConfigurationError, match="that the seed of an image does not decide"):
        generate(run_of(str(folder), tmp_path / "out", "sd3"), visible=False)
