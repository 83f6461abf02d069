"""What the main job refuses, it refuses before the first long stage."""

from __future__ import annotations

import dataclasses

import pytest

import dtrak_stream
from dtrak_stream.errors import ConfigurationError, FingerprintMismatchError, InputError
from dtrak_stream.objective.function_names import LOSSES
from tests.attribution.jobs import (
    job,
)
from tests.small_jobs import (
    written_at,
)


@pytest.mark.parametrize(
    ("method", "function", "told"),
    [
        ("trak", "square", f"trak takes features of {', '.join(LOSSES)}, not of square"),
        ("d-trak", "simple", "not of simple"),
        ("d-trak", "interpolation(x)", "unknown output function"),
        ("magic", "square", "unknown method"),
    ],
)
def test_a_method_refuses_features_it_is_not_defined_on(
    model_folder, sources, tmp_path, method, function, told
):
    options = {"scores": {"method": method}, "output_function": function}
    with pytest.raises(ConfigurationError, match=r"^--(method|output-function) ") as refused:
        dtrak_stream.attribute(job(model_folder, sources, tmp_path / "run", **options))
    assert told in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_a_run_of_other_options_is_refused_and_nothing_is_changed(again):
    before = written_at(again.run)
    features = dataclasses.replace(again.features, seed=1)
    with pytest.raises(FingerprintMismatchError, match="seed differs: stored 0, requested 1"):
        dtrak_stream.attribute(dataclasses.replace(again, features=features))
    assert written_at(again.run) == before


def test_a_missing_source_of_queries_is_refused(model_folder, sources, tmp_path):
    config = job(model_folder, (sources[0], tmp_path / "gone"), tmp_path / "run", limit=3)
    with pytest.raises(InputError, match="gone: does not exist"):
        dtrak_stream.attribute(config)
    assert not (tmp_path / "run").exists()
