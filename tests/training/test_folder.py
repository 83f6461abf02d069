"""What a folder of a training run holds, and which run it belongs to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from diffusers import DDPMPipeline

from dtrak_stream.data.options import ImageShape
from dtrak_stream.errors import (
    FingerprintMismatchError,
    InputError,
)
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.support.configuration import parse
from dtrak_stream.training.configuration import TrainingConfig
from dtrak_stream.training.run import train
from tests.training.tiny_runs import (
    EVERYTHING,
    crash_at,
    power_cut,
    tiny,
)


@pytest.fixture(scope="module")
def begun_and_finished(tmp_path_factory) -> tuple[Path, Path]:
    begun, finished = tmp_path_factory.mktemp("begun"), tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        crash_at(patch, 1, power_cut)
        with pytest.raises(RuntimeError, match="power cut"):
            train(tiny(begun), visible=False)
    train(tiny(finished), visible=False)
    return begun, finished


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"learning_rate": 2e-3}, "learning-rate"),
        ({"seed": 1}, "seed"),
        ({"architecture": EVERYTHING}, "attention-levels"),
        ({"epochs": 4}, "epochs"),
        ({"images": "sklearn:digits[1:29]"}, "image-identity"),
        ({"ema": True}, "ema"),
    ],
)
def test_another_run_in_the_same_folder_is_refused(begun_and_finished, changes, field):
    for folder in begun_and_finished:
        with pytest.raises(FingerprintMismatchError, match=r"stored .* requested") as refused:
            train(tiny(folder, **changes), visible=False)
        assert refused.value.field == field
        assert refused.value.stored != refused.value.requested


def test_folder_with_a_foreign_model_is_refused(tmp_path):
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(InputError, match=r"holds model_index\.json, and no fingerprint\.json"):
        train(tiny(tmp_path), visible=False)


def test_saved_folder_is_what_diffusers_would_save(tmp_path):
    train(tiny(tmp_path / "ours", architecture=EVERYTHING), visible=False)
    pipeline = DDPMPipeline.from_pretrained(tmp_path / "ours", use_safetensors=True)
    pipeline.save_pretrained(tmp_path / "theirs")
    theirs = [path for path in (tmp_path / "theirs").rglob("*") if path.is_file()]
    assert len(theirs) == 4
    for path in theirs:
        ours = tmp_path / "ours" / path.relative_to(tmp_path / "theirs")
        if path.suffix == ".safetensors":
            assert ours.read_bytes() == path.read_bytes()
        else:  # diffusers adds the name of the folder it loaded from
            lines = [line for line in path.read_text().splitlines() if "_name_or_path" not in line]
            assert ours.read_text().splitlines() == lines
    assert load_denoiser(str(tmp_path / "ours")).image_shape == ImageShape(1, 8, 8)


def test_recorded_options_give_the_same_run_again(tmp_path):
    config = tiny(tmp_path / "out", architecture=EVERYTHING, flip=True, steps=2)
    train(config, visible=False)
    assert parse(TrainingConfig, ["--config", str(tmp_path / "out" / "training.yaml")]) == config


def test_out_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file, not a folder"):
        train(tiny(tmp_path / "file"), visible=False)


def test_loss_of_every_step_is_written(tmp_path):
    train(tiny(tmp_path), visible=False)
    table = np.loadtxt(tmp_path / "loss.csv", delimiter=",", skiprows=1)
    assert table[:, 0].tolist() == list(range(1, 13))
    assert (table[:, 1] > 0).all()
