"""A finished run, and the files beside it that commands ask for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.commands_here import run_command

SIDES = "--train {run}/train --query {run}/query"
IMAGES = "--train sklearn:digits[:8] --query sklearn:digits[1000:1002]"
ATTRIBUTE = f"attribute {IMAGES} --proj-dim 64 --timesteps 2 --quiet"
IMPORT = (
    "import-features --array {array} --source s --output-function simple --timesteps none "
    "--projector normal --scale 1 --image-shape 1x8x8 --quiet"
)


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A finished run, losses of retrained models, and an array of features."""
    folder: Path = tmp_path_factory.mktemp("inputs")
    told = run_command(*ATTRIBUTE.split(), "--run", str(folder / "run"))
    assert told.code == 0, told.stderr
    random = np.random.default_rng(0)
    mask = np.arange(8)[:, None] + np.arange(8) & 1 == 0  # (8 subsets, 8 images)
    np.savez(folder / "truth.npz", mask=mask, loss=random.normal(size=(8, 2)))
    np.save(folder / "array.npy", random.normal(size=(40, 60)).astype(np.float32))
    names = {"run": "run", "truth": "truth.npz", "array": "array.npy"}
    return {name: str(folder / file) for name, file in names.items()}
