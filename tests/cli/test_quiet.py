"""With --quiet no bar is drawn; what was found is told all the same, whatever the command."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dtrak_stream.featurizing.run import featurize
from dtrak_stream.generation.run import generate
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.support.progress_display import Display, FileLines, Shown
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
def test_quiet_draws_no_bar_and_names_the_model_all_the_same(
    model_folder, tmp_path, monkeypatch, capsys, command, quiet
):
    drawn: list[str] = []

    def drawing(stage: Shown) -> Display:
        drawn.append(stage.description)
        return FileLines(stage)

    monkeypatch.setattr("dtrak_stream.support.progress.display", drawing)
    stage, config = command(model_folder, tmp_path)
    stage(dataclasses.replace(config, quiet=quiet))
    told = load_denoiser(model_folder).description in capsys.readouterr().err.splitlines()
    assert bool(drawn) == (not quiet)
    assert told == (command is not training)
