"""The LoRA benchmark: its base model in two steps, a LoRA in sixteen, and what comes along."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dtrak_stream.benchmark.lora import base_model
from dtrak_stream.benchmark.lora.base_model import make_base_model
from dtrak_stream.benchmark.lora.options import LoraBaseConfig, LoraBenchConfig
from dtrak_stream.benchmark.lora.run import measure_lora
from dtrak_stream.benchmark.lora.subject import shipped, training, validation
from dtrak_stream.data.options import ImageShape
from dtrak_stream.errors import ConfigurationError, FingerprintMismatchError, InputError
from dtrak_stream.evaluation.options import LossOptions
from dtrak_stream.evaluation.recipe import read_recipe
from dtrak_stream.evaluation.retraining.configuration import RetrainConfig
from dtrak_stream.evaluation.retraining.plan import plan_retraining, stored_truth
from dtrak_stream.evaluation.truth import TruthFile
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.model.places import EMBEDDED_BASE, EMBEDDED_LORA
from tests.benchmark.test_lds import write_idx

ROOT = Path(__file__).resolve().parents[2]
BATCH = 8
IN_SMALL_STEPS = f"""
from dtrak_stream.benchmark.lora import base_model
from dtrak_stream.cli.main import main
base_model._BATCH = {BATCH}
main()
"""


@pytest.fixture(autouse=True)
def as_many_threads_as_before():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> LoraBaseConfig:
    folder = tmp_path_factory.mktemp("fashion")
    pixels = np.random.default_rng(0).integers(0, 256, (20, 28, 28))
    write_idx(folder / "train-images-idx3-ubyte.gz", pixels)
    write_idx(folder / "train-labels-idx1-ubyte.gz", np.arange(20) % 10)
    return LoraBaseConfig(folder, folder / "base", autoencoder_steps=2, network_steps=2)


@pytest.fixture(scope="module")
def base(config) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base_model, "_BATCH", BATCH)
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
    command = [sys.executable, "-c", IN_SMALL_STEPS, "bench", "lora-base"]
    command += ["--out", tmp_path / "base", "--fashion-mnist", config.fashion_mnist or ""]
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


def test_a_lora_its_images_and_truth_are_made_of_another_base_once(base, tmp_path, monkeypatch):
    monkeypatch.setattr("dtrak_stream.benchmark.lora.subject.TRAIN", "sklearn:digits[0:64]")
    config = LoraBenchConfig(
        tmp_path / "lora",
        str(base),
        ("pixel-cosine",),
        epochs=1,
        images=3,
        subsets=3,
        seeds=1,
        quiet=True,
    )
    page = measure_lora(config).path.read_text()
    numbers = json.loads((tmp_path / "lora.json").read_text())
    assert [row["queries"] for row in numbers["rows"]] == ["val", "gen"]
    value = numbers["rows"][0]["plain"]
    assert f"{100 * value['lds']:.1f} +- {100 * value['standard_error']:.1f}" in page
    folder = tmp_path / "lora.work/digits-lora"
    truth = TruthFile(folder / "truth.npz")
    assert truth.loss("loss").shape == truth.loss("loss_gen").shape == (3, 3)
    lines = (folder / "generated/metadata.jsonl").read_text().splitlines()
    told = [json.loads(line) for line in lines]
    assert [each["target"] for each in told] == [0, 1, 2]
    assert all((folder / "generated" / each["file_name"]).is_file() for each in told)
    for name in ("lds.judging.run_judging_job", "lora.generated._pipeline"):
        monkeypatch.setattr(f"dtrak_stream.benchmark.{name}", None)
    measure_lora(config)
    assert json.loads((tmp_path / "lora.json").read_text())["rows"] == numbers["rows"]


def test_the_lora_that_comes_along_is_the_recipe_of_the_command():
    recipe = read_recipe(EMBEDDED_LORA, visible=False)
    config = training(LoraBenchConfig(), EMBEDDED_BASE, Path("digits_lora"))
    assert dataclasses.replace(recipe.config, device="auto") == config


def test_the_truth_that_comes_along_is_about_what_comes_along():
    subject = shipped()
    truth = TruthFile(subject.truth)
    queries = (f"val={validation(200)}", f"gen={subject.generated}")
    config = RetrainConfig(
        subject.truth,
        queries,
        model=EMBEDDED_LORA,
        subsets=len(truth.mask),
        seeds=len(truth.attributes["train-seeds"]),
        loss=LossOptions(loss_timesteps="10"),
        quiet=True,
    )
    assert stored_truth(plan_retraining(config)) is not None
    assert len(truth.mask) == 32


def test_best_is_above_pixels_on_the_truth_that_comes_along(tmp_path):
    config = LoraBenchConfig(tmp_path / "lora", methods=("best", "pixel-cosine"), quiet=True)
    measure_lora(config)
    rows = json.loads((tmp_path / "lora.json").read_text())["rows"]
    best, pixels = (row for row in rows if row["queries"] == "val")
    assert best["rules"]["auto"]["lds"] > pixels["plain"]["lds"] + 0.04


def test_no_method_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="--methods"):
        LoraBenchConfig(tmp_path / "lora", methods=())
