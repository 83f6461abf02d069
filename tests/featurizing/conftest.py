"""Images that tests of featurizing share."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "images.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (20, 8, 8), np.uint8))
    return str(path)
