"""The base model of the LoRA benchmark, trained for two steps on a few images."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from dtrak_stream.benchmark.lora.base_model import make_base_model
from dtrak_stream.benchmark.lora.options import LoraBaseConfig
from dtrak_stream.data.options import ImageShape
from dtrak_stream.errors import FingerprintMismatchError, InputError
from dtrak_stream.model.loading import load_denoiser
from tests.benchmark.test_lds import write_idx


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> LoraBaseConfig:
    folder = tmp_path_factory.mktemp("fashion")
    pixels = np.random.default_rng(0).integers(0, 256, (20, 28, 28))
    write_idx(folder / "train-images-idx3-ubyte.gz", pixels)
    write_idx(folder / "train-labels-idx1-ubyte.gz", np.arange(20) % 10)
    return LoraBaseConfig(folder, folder / "base", autoencoder_steps=2, network_steps=2)


def test_the_model_is_a_pipeline_that_is_told_captions_and_is_made_once(config):
    assert make_base_model(config).path.read_text().startswith("# Base model")
    pipeline = Path(f"{config.out}.work") / "pipeline"
    denoiser = load_denoiser(str(pipeline))
    assert denoiser.image_shape == ImageShape(1, 16, 16)
    assert denoiser.sample_shape == ImageShape(4, 8, 8)
    assert denoiser.conditioned_on == "caption"
    made = (pipeline / "model_index.json").stat().st_mtime_ns
    make_base_model(config)
    assert (pipeline / "model_index.json").stat().st_mtime_ns == made
    with pytest.raises(FingerprintMismatchError, match="seed"):
        make_base_model(dataclasses.replace(config, seed=1))


def test_files_that_are_not_there_are_refused(tmp_path):
    with pytest.raises(InputError):
        make_base_model(LoraBaseConfig(tmp_path, tmp_path / "base"))
    assert list(tmp_path.iterdir()) == []
