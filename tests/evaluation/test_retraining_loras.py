"""A LoRA retrained on subsets: on the same base, with the captions of images and queries."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dtrak_stream.data.images import open_images
from dtrak_stream.data.query_options import QueryConditionOptions
from dtrak_stream.errors import ConfigurationError, FingerprintMismatchError
from dtrak_stream.evaluation.losses import LossMeter
from dtrak_stream.evaluation.options import LossOptions
from dtrak_stream.evaluation.recipe import read_recipe
from dtrak_stream.evaluation.retrained_models import train_model
from dtrak_stream.evaluation.retraining.run import retrain_subsets
from dtrak_stream.evaluation.truth import TruthFile
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.model.options import LoadingOptions, LoraOptions
from dtrak_stream.model.told_options import ToldOptions
from dtrak_stream.training.configuration import OptimisationOptions
from dtrak_stream.training.lora_configuration import LoraLayerOptions, LoraTrainingConfig
from dtrak_stream.training.lora_run import train_lora
from tests.evaluation.conftest import retraining
from tests.model.flow_pipelines import T5_TOKENS, flux
from tests.model.text_pipelines import SIZE, stable_diffusion

CAPTIONS = ("a red cat", "dogs")
TOLD = ToldOptions(size=SIZE, guidance=1.0, t5_tokens=T5_TOKENS)


def captioned(folder: Path, count: int, seed: int, column: str) -> str:
    """Save images with their captions in a column."""
    folder.mkdir()
    pixels = np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)
    lines = []
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{number}.png")
        lines.append(json.dumps({"file_name": f"{number}.png", column: CAPTIONS[number % 2]}))
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    return str(folder)


@pytest.fixture(scope="module")
def lora(tmp_path_factory) -> LoraTrainingConfig:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("lora")
    stable_diffusion(folder)
    config = LoraTrainingConfig(
        images=captioned(folder / "images", 6, 0, "text"),
        model=str(folder / "pipeline"),
        out=folder / "lora",
        device="cpu",
        layers=LoraLayerOptions(rank=2),
        optimisation=OptimisationOptions(epochs=2, batch_size=2, learning_rate=1e-2),
    )
    train_lora(config, visible=False)
    return config


def test_losses_are_those_of_loras_of_the_subsets_told_the_captions_of_queries(lora, tmp_path):
    query, options = captioned(tmp_path / "queries", 3, 1, "words"), LossOptions("3", loss_batch=8)
    config = retraining(
        str(lora.out),
        tmp_path / "truth.npz",
        query=(query,),
        query_conditions=QueryConditionOptions(query_caption_column="words"),
        loss=options,
    )
    truth = TruthFile(retrain_subsets(config).path)
    subset, out = tmp_path / "subset.npy", tmp_path / "again"
    np.save(subset, np.flatnonzero(truth.mask[1]))
    train_lora(dataclasses.replace(lora, subset=subset, out=out, seed=0), visible=False)
    loaded = LoadingOptions(loras=(LoraOptions(str(out)),))
    images = open_images(query, conditioned_on="caption", visible=False)
    meter = LossMeter(load_denoiser(lora.model, loaded), options)
    np.testing.assert_array_equal(truth.loss("loss")[1], meter.of_images(images))
    assert len(np.unique(truth.loss("loss"))) == 6
    # scores are of the images, whatever these are told with
    assert truth.query_images("loss") == images.images_identity() != images.identity()
    trained_on = open_images(lora.images, images.shape, visible=False)
    assert truth.train_images == trained_on.identity()


def test_loras_of_some_blocks_are_measured(lora, tmp_path):
    layers = LoraLayerOptions(rank=2, target_modules=("mid_block.attentions.0.proj_in",))
    config = dataclasses.replace(lora, layers=layers, out=tmp_path / "lora")
    assert train_model(config).denoiser.conditioned_on == "caption"


def test_another_base_is_not_what_a_lora_is_retrained_on(lora, tmp_path):
    recipe = read_recipe(str(lora.out), device="cpu", visible=False)
    assert recipe.conditioned_on == "caption"
    assert recipe.num_timesteps == 1000
    record = lora.out / "fingerprint.json"
    kept = record.read_text()
    record.write_text(json.dumps(json.loads(kept) | {"weights": "others"}))
    try:
        with pytest.raises(FingerprintMismatchError, match="weights"):
            read_recipe(str(lora.out), device="cpu", visible=False)
    finally:
        record.write_text(kept)


@pytest.fixture(scope="module")
def flux_lora(tmp_path_factory) -> LoraTrainingConfig:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("flux")
    flux(folder)
    config = LoraTrainingConfig(
        images=captioned(folder / "images", 4, 0, "text"),
        model=str(folder / "pipeline"),
        out=folder / "lora",
        device="cpu",
        told=TOLD,
        layers=LoraLayerOptions(rank=2),
        optimisation=OptimisationOptions(epochs=1, batch_size=2, learning_rate=1e-2),
    )
    train_lora(config, visible=False)
    return config


def test_loras_are_retrained_under_the_size_and_guidance_of_their_training(flux_lora, tmp_path):
    query, options = captioned(tmp_path / "queries", 2, 1, "text"), LossOptions("3", loss_batch=8)
    config = retraining(
        str(flux_lora.out), tmp_path / "truth.npz", query=(query,), loss=options, subsets=1
    )
    truth = TruthFile(retrain_subsets(config).path)
    subset, out = tmp_path / "subset.npy", tmp_path / "again"
    np.save(subset, np.flatnonzero(truth.mask[0]))
    train_lora(dataclasses.replace(flux_lora, subset=subset, out=out, seed=0), visible=False)
    images = open_images(query, conditioned_on="caption", visible=False)
    losses = [
        LossMeter(
            load_denoiser(flux_lora.model, told.loading(LoraOptions(str(out)))), options
        ).of_images(images)
        for told in (TOLD, dataclasses.replace(TOLD, guidance=9.0))
    ]
    np.testing.assert_array_equal(truth.loss("loss")[0], losses[0])
    assert (losses[0] != losses[1]).all()
    same = dataclasses.replace(config, told=ToldOptions(guidance=1.0))
    assert retrain_subsets(same).models == 0


@pytest.mark.parametrize(
    ("told", "field"), [({"guidance": 2.0}, "model"), ({"t5_tokens": 6}, "model")]
)
def test_a_lora_is_not_retrained_under_another_guidance(flux_lora, told, field):
    with pytest.raises(FingerprintMismatchError) as refused:
        read_recipe(str(flux_lora.out), told=ToldOptions(**told), device="cpu", visible=False)
    assert refused.value.field == field


def test_what_training_does_not_record_is_told_for_it(flux_lora):
    record = flux_lora.out / "training.yaml"
    kept = record.read_text()
    lines = [line for line in kept.splitlines() if not line.startswith(("size", "guidance", "t5"))]
    record.write_text("\n".join(lines))
    try:
        with pytest.raises(ConfigurationError, match="does not say how large"):
            read_recipe(str(flux_lora.out), device="cpu", visible=False)
        recipe = read_recipe(str(flux_lora.out), told=TOLD, device="cpu", visible=False)
    finally:
        record.write_text(kept)
    assert isinstance(recipe.config, LoraTrainingConfig)
    assert recipe.config.told == TOLD


def test_a_model_that_knows_images_alone_is_told_nothing_more(full_model):
    with pytest.raises(ConfigurationError, match=r"--size: .* is told nothing but the image"):
        read_recipe(full_model, told=ToldOptions(size=8), device="cpu", visible=False)
