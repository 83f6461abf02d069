"""The base model of the LoRA benchmark, trained for two steps on a few images."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dtrak_stream.benchmark.lora.base_model import make_base_model
from dtrak_stream.benchmark.lora.options import LoraBaseConfig
from dtrak_stream.data.options import ImageShape
from dtrak_stream.errors import FingerprintMismatchError, InputError
from dtrak_stream.model.loading import load_denoiser
from tests.benchmark.test_lds import write_idx

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> LoraBaseConfig:
    folder = tmp_path_factory.mktemp("fashion")
    pixels = np.random.default_rng(0).integers(0, 256, (20, 28, 28))
    write_idx(folder / "train-images-idx3-ubyte.gz", pixels)
    write_idx(folder / "train-labels-idx1-ubyte.gz", np.arange(20) % 10)
    return LoraBaseConfig(folder, folder / "base", autoencoder_steps=2, network_steps=2)


@pytest.fixture(scope="module")
def base(config) -> Path:
    make_base_model(config)
    return Path(f"{config.out}.work") / "pipeline"


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_the_model_is_a_pipeline_that_is_told_captions_and_is_made_once(config, base):
    assert config.out.with_suffix(".md").read_text().startswith("# Base model")
    denoiser = load_denoiser(str(base))
    assert denoiser.image_shape == ImageShape(1, 16, 16)
    assert denoiser.sample_shape == ImageShape(4, 8, 8)
    assert denoiser.conditioned_on == "caption"
    made = (base / "model_index.json").stat().st_mtime_ns
    make_base_model(config)
    assert (base / "model_index.json").stat().st_mtime_ns == made
    with pytest.raises(FingerprintMismatchError, match="seed"):
        make_base_model(dataclasses.replace(config, seed=1))


def test_another_process_makes_the_same_bytes(config, base, tmp_path):
    command = [sys.executable, ROOT / "tools/bench.py", "lora-base", "--out", tmp_path / "base"]
    command += ["--fashion-mnist", config.fashion_mnist or ""]
    command += ["--autoencoder-steps", "2", "--network-steps", "2"]
    variables = {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7"}
    variables["OMP_NUM_THREADS"] = str(torch.get_num_threads())
    subprocess.run(
        [str(word) for word in command], env=os.environ | variables, check=True, capture_output=True
    )
    assert contents(tmp_path / "base.work/pipeline") == contents(base)


def test_weights_are_kept_in_half_precision_and_read_as_they_are(base):
    sizes = {name: len(text) for name, text in contents(base).items() if "safetensors" in name}
    numbers = sum(each.numel() for each in load_denoiser(str(base)).network.parameters())
    assert 2 * numbers < sizes["unet/diffusion_pytorch_model.safetensors"] < 2.1 * numbers


def test_files_that_are_not_there_are_refused(tmp_path):
    with pytest.raises(InputError):
        make_base_model(LoraBaseConfig(tmp_path, tmp_path / "base"))
    assert list(tmp_path.iterdir()) == []
