"""Data sets whose models are made by the LDS benchmark: every step of it, on a very small one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from dtrak_stream.benchmark.lds import made_data
from dtrak_stream.benchmark.lds.made_data import FASHION_MNIST, MadeData
from dtrak_stream.benchmark.lds.options import LdsBenchConfig
from dtrak_stream.evaluation.retraining.configuration import WorkerOptions
from dtrak_stream.evaluation.truth import TruthFile
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
    monkeypatch.setattr(made_data, "GENERATED", 2)
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
