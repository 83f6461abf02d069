"""With --quiet no bar is drawn and nothing is told of the model, whatever the command."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tqdm import tqdm

from dtrak_stream.featurizing.run import featurize
from dtrak_stream.generation.run import generate
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.training.run import train
from tests.generation.small_runs import config_of
from tests.small_jobs import random_pixels, save_images, small_job
from tests.training.tiny_runs import tiny


def featurizing(model: str, folder: Path) -> tuple[Callable[[Any], object], Any]:
    images = save_images(folder / "images", random_pixels(3))
    return featurize, small_job(model, images, folder / "store")


def generating(model: str, folder: Path) -> tuple[Callable[[Any], object], Any]:
    return generate, config_of(model, folder / "out", count=2)


def training(_model: str, folder: Path) -> tuple[Callable[[Any], object], Any]:
    return train, tiny(folder / "out", epochs=1)


@pytest.mark.parametrize("quiet", [True, False])
@pytest.mark.parametrize("command", [featurizing, generating, training])
def test_quiet_draws_no_bar_and_names_no_model(
    model_folder, tmp_path, monkeypatch, capsys, command, quiet
):
    drawn: list[str] = []

    class Bar(tqdm):
        def __init__(self, **options: Any) -> None:
            drawn.extend([] if options["disable"] else [options["desc"]])
            super().__init__(**options)

    monkeypatch.setattr("dtrak_stream.support.progress.tqdm", Bar)
    stage, config = command(model_folder, tmp_path)
    stage(dataclasses.replace(config, quiet=quiet))
    told = load_denoiser(model_folder).description in capsys.readouterr().err.splitlines()
    assert bool(drawn) == (not quiet)
    assert told == (not quiet and command is not training)
