"""A finished run, and the files beside it that commands ask for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.commands_here import run_command
from tests.d_trak_folders import d_trak_folders

SIDES = "--train {run}/train --query {run}/query"
IMAGES = "--train sklearn:digits[:8] --query sklearn:digits[1000:1002]"
ATTRIBUTE = f"attribute {IMAGES} --proj-dim 64 --timesteps 2 --quiet"
IMPORT = (
    "import-features --array {array} --source s --output-function simple --timesteps none "
    "--projector normal --scale 1 --image-shape 1x8x8 --quiet"
)
IMPORT_TRUTH = (
    "import-truth --index {d_trak}/data/indices/12-0.5/idx-train.pkl --models "
    "{d_trak}/saved/12-0.5/lds-val --subset-index {d_trak}/data/indices/12-0.5/lds-val --quiet"
)


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A finished run, losses of retrained models, an array of features, folders of D-TRAK."""
    folder: Path = tmp_path_factory.mktemp("inputs")
    told = run_command(*ATTRIBUTE.split(), "--run", str(folder / "run"))
    assert told.code == 0, told.stderr
    random = np.random.default_rng(0)
    mask = np.arange(8)[:, None] + np.arange(8) & 1 == 0  # (8 subsets, 8 images)
    np.savez(folder / "truth.npz", mask=mask, loss=random.normal(size=(8, 2)))
    np.save(folder / "array.npy", random.normal(size=(40, 60)).astype(np.float32))
    d_trak_folders(folder / "d-trak")
    names = {"d_trak": "d-trak", "run": "run", "truth": "truth.npz", "array": "array.npy"}
    return {name: str(folder / file) for name, file in names.items()}
