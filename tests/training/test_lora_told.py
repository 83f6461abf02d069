"""What a LoRA is told of sizes when trained, measured and featurized, and a base of its own."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from PIL import Image

from dtrak_stream.data.images import open_images
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.errors import FingerprintMismatchError, InputError
from dtrak_stream.evaluation.losses import LossMeter
from dtrak_stream.evaluation.options import LossOptions
from dtrak_stream.evaluation.recipe import read_recipe
from dtrak_stream.evaluation.retrained_models import load_trained
from dtrak_stream.featurizing.run import featurize
from dtrak_stream.model.layout import LORA_FILE
from dtrak_stream.model.told_options import ToldOptions
from dtrak_stream.support.configuration import parse
from dtrak_stream.training.configuration import OptimisationOptions
from dtrak_stream.training.lora_configuration import LoraLayerOptions, LoraTrainingConfig
from dtrak_stream.training.lora_run import train_lora
from tests.model.text_pipelines import stable_diffusion, stable_diffusion_xl
from tests.small_jobs import small_job

CROP = ImageOptions(image_fit="crop", resample="lanczos")
OWN = {(40, 24, 5, 0, 16, 16), (17, 90, 0, 34, 16, 16), (16, 16, 0, 0, 16, 16)}
MODELS = {(16, 16, 0, 0, 16, 16)}
LAYERS = LoraLayerOptions(rank=2, target_modules=("attn2.to_k",))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> str:
    """Captioned images of several sizes."""
    folder: Path = tmp_path_factory.mktemp("photographs")
    for number, size in enumerate([(24, 40), (90, 17), (16, 16)]):  # (width, height)
        Image.effect_noise(size, 80).convert("RGB").save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"picture {number}")
    return str(folder)


@pytest.fixture(scope="module")
def xl(tmp_path_factory) -> str:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("xl")
    stable_diffusion_xl(folder)
    return str(folder / "pipeline")


def training(images: str, model: str, out: Path, **told) -> LoraTrainingConfig:
    """One epoch of two steps."""
    return LoraTrainingConfig(
        images=images,
        model=model,
        out=out,
        device="cpu",
        image_options=CROP,
        told=ToldOptions(**told),
        layers=LAYERS,
        optimisation=OptimisationOptions(epochs=1, batch_size=2, learning_rate=1e-2),
    )


@pytest.fixture
def sizes_told(monkeypatch) -> Callable[[Callable[[], object]], set[tuple[int, ...]]]:
    """Return the sizes that networks are told while something runs."""
    told = list[torch.Tensor]()
    forward = UNet2DConditionModel.forward

    def noting(self, *given, **named):
        told.append(named["added_cond_kwargs"]["time_ids"])
        return forward(self, *given, **named)

    def of(run: Callable[[], object]) -> set[tuple[int, ...]]:
        told.clear()
        with monkeypatch.context() as patch:
            patch.setattr(UNet2DConditionModel, "forward", noting)
            run()
        rows = torch.cat(told)
        return {tuple(map(int, row)) for row in rows.tolist()}

    return of


@pytest.mark.parametrize(("named", "expected"), [(None, OWN), ("model", MODELS)])
def test_a_lora_is_told_of_sizes_the_same_when_trained_measured_and_featurized(
    xl, photographs, tmp_path, sizes_told, named, expected
):
    config = training(photographs, xl, tmp_path / "lora", time_ids=named)
    assert sizes_told(lambda: train_lora(config, visible=False)) == expected
    denoiser = load_trained(config)
    images = open_images(
        photographs, denoiser.image_shape, CROP, conditioned_on="caption", visible=False
    )
    meter = LossMeter(denoiser, LossOptions("2", loss_batch=2))
    assert sizes_told(lambda: meter.of_images(images)) == expected
    given = {} if named is None else {"time_ids": named}
    job = small_job(f"{xl}+{config.out}", photographs, tmp_path / "store", **given)
    job = dataclasses.replace(job, image_options=CROP)
    assert sizes_told(lambda: featurize(job)) == expected


def test_a_lora_is_retrained_under_the_sizes_of_its_training(xl, photographs, tmp_path):
    config = training(photographs, xl, tmp_path / "lora", time_ids="model")
    train_lora(config, visible=False)
    recorded = ["--config", str(config.out / "training.yaml")]
    assert parse(LoraTrainingConfig, recorded).told == config.told
    recipe = read_recipe(str(config.out), device="cpu", visible=False)
    assert "time-ids" not in recipe.described()
    with pytest.raises(FingerprintMismatchError, match="own size and crop of each image"):
        read_recipe(str(config.out), told=ToldOptions(time_ids="image"), visible=False)
    own = dataclasses.replace(config, told=ToldOptions())
    with pytest.raises(FingerprintMismatchError, match="own size and crop of each image"):
        train_lora(own, visible=False)


def test_a_lora_of_a_network_alone_is_that_of_its_whole_pipeline(photographs, tmp_path):
    stable_diffusion(tmp_path)
    base = tmp_path / "pipeline"
    alone = shutil.copytree(base / "unet", tmp_path / "alone")
    whole = training(photographs, str(base), tmp_path / "whole")
    part = training(photographs, str(alone), tmp_path / "part", base=str(base))
    with pytest.raises(InputError, match="or as --base the one that it was trained from"):
        train_lora(dataclasses.replace(part, told=ToldOptions()), visible=False)
    for config in (whole, part):
        train_lora(config, visible=False)
    assert (part.out / LORA_FILE).read_bytes() == (whole.out / LORA_FILE).read_bytes()
    recipes = [read_recipe(str(each.out), visible=False) for each in (whole, part)]
    assert recipes[0].described() == recipes[1].described()
    moved = shutil.move(base, tmp_path / "moved")
    told = ToldOptions(base=str(moved))
    found = read_recipe(str(part.out), told=told, visible=False)
    assert found.described() == recipes[0].described()
