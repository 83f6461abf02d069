"""A finished run of the main job, which tests copy before they change it."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.attribution.jobs import (
    TRAIN,
    Finished,
    job,
)
from tests.commands_here import run_command
from tests.small_jobs import flags, random_pixels, save_images


@pytest.fixture(scope="session")
def sources(tmp_path_factory) -> tuple[Path, Path]:
    """Training images, and queries of which the first two are training images as well."""
    root = tmp_path_factory.mktemp("sources")
    train = random_pixels(TRAIN)
    query = np.concatenate([train[[7, 2]], random_pixels(2, seed=1)])
    return save_images(root / "train", train), save_images(root / "query", query)


@pytest.fixture(scope="session")
def finished(model_folder, sources, tmp_path_factory) -> Finished:
    config = job(model_folder, sources, tmp_path_factory.mktemp("finished") / "run")
    told = run_command("attribute", *flags(config))
    return Finished(config, told.code, told.stdout, told.stderr)


@pytest.fixture
def again(finished, tmp_path):
    """A copy of the finished run, with the configuration it was made with."""
    shutil.copytree(finished.config.run, tmp_path / "run")
    return dataclasses.replace(finished.config, run=tmp_path / "run")
