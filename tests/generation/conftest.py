"""The model that tests of generation share."""

from __future__ import annotations

import pytest

from tests.generation.small_runs import save_model


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> str:
    return save_model(tmp_path_factory.mktemp("model"))
