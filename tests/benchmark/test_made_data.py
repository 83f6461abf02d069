"""Data sets whose models are made by the LDS benchmark: every step of it, on a very small one."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dtrak_stream.benchmark.lds import fashion_mnist, made_data, sprites, subjects
from dtrak_stream.benchmark.lds.made_data import FASHION_MNIST, SPRITES, MadeData
from dtrak_stream.benchmark.lds.options import LdsBenchConfig
from dtrak_stream.benchmark.lds.subjects import write_paths
from dtrak_stream.data.images import open_images
from dtrak_stream.evaluation.retraining.configuration import WorkerOptions
from dtrak_stream.evaluation.truth import TruthFile
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.model.parameters import weights_hash
from dtrak_stream.model.places import (
    EMBEDDED_FASHION_MNIST_FIRST,
    EMBEDDED_SPRITES_FIRST,
    place_of,
)
from dtrak_stream.support.durable import write_npy
from dtrak_stream.training.configuration import ArchitectureOptions, OptimisationOptions
from tests.small_jobs import random_pixels


def write_images(source: Path, train: Path, validation: Path) -> None:
    pixels = random_pixels(12)
    write_npy(train, pixels[:8])
    write_npy(validation, pixels[8:])


def write_other_images(source: Path, out: Path) -> None:
    write_npy(out, random_pixels(20)[12:])


@pytest.fixture
def small(monkeypatch) -> MadeData:
    for module in (made_data, subjects):
        monkeypatch.setattr(module, "GENERATED", 2)
    one_epoch = OptimisationOptions(epochs=1, batch_size=8)
    return dataclasses.replace(
        FASHION_MNIST,
        write_images=write_images,
        architecture=ArchitectureOptions(
            block_out_channels=(8,), layers_per_block=1, attention_levels=(), norm_num_groups=4
        ),
        optimisation=one_epoch,
        write_first_images=write_other_images,
        first_optimisation=one_epoch,
        comes_along=False,
    )


def test_model_generated_images_and_truth_are_made_of_pairs_of_halves(tmp_path, small):
    where = WorkerOptions(device="cpu")
    config = LdsBenchConfig(
        out=tmp_path / "lds", subsets=4, seeds=2, repeated_subsets=2, where=where, quiet=True
    )
    small.prepare(config, tmp_path)
    subject = small.subject(config)
    truth = TruthFile(subject.truth)
    assert truth.mask.shape == (4, 8)
    np.testing.assert_array_equal(truth.mask[1::2], ~truth.mask[::2])
    assert truth.loss_keys == ("loss", "loss_gen")
    assert truth.loss("loss").shape == (4, 4)
    assert truth.loss("loss_gen").shape == (4, 2)
    of_seeds = truth.loss_of_seeds("loss")
    assert of_seeds is not None
    assert np.isnan(of_seeds[1, 2:]).all()
    assert truth.attributes["recipe"]["base"]
    before = subject.truth.stat().st_mtime_ns
    small.prepare(config, tmp_path)
    assert subject.truth.stat().st_mtime_ns == before
    assert write_paths(subject, "cpu") == subject.path
    other = shutil.copytree(subject.generated, tmp_path / "other")
    spoiled = next(other.glob("*.png"))
    with Image.open(spoiled) as image:
        pixels = np.asarray(image).copy()
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(spoiled)
    assert write_paths(dataclasses.replace(subject, generated=str(other)), "cpu") is None


@pytest.mark.parametrize(
    ("data", "images", "first"),
    [
        (SPRITES, sprites.TRAIN_IMAGES, EMBEDDED_SPRITES_FIRST),
        (FASHION_MNIST, fashion_mnist.TRAIN_IMAGES, EMBEDDED_FASHION_MNIST_FIRST),
    ],
)
def test_model_generated_images_and_truth_that_come_along_belong_together(data, images, first):
    config = LdsBenchConfig()
    subject = data.subject(config)
    recipe = json.loads((place_of(subject.model) / "fingerprint.json").read_text())
    truth = TruthFile(subject.truth)
    assert truth.mask.shape[1] == images
    np.testing.assert_array_equal(truth.mask[1::2], ~truth.mask[::2])
    assert truth.attributes["recipe"]["image-identity"] == recipe["image-identity"]
    begun_with = weights_hash(load_denoiser(first).network)
    assert begun_with == recipe["first-weights"] == truth.attributes["recipe"]["base"]
    generated = open_images(subject.generated, visible=False)
    assert generated.identity() == truth.attributes["queries"]["loss_gen"]["queries"]
    made = data.subject(LdsBenchConfig(remake=True))
    own_folder = config.out.with_name("lds.work") / data.name
    assert made.truth.parent == Path(made.model).parent == own_folder
