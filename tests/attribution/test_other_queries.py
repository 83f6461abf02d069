"""Queries of a store of their own, scored by the stage alone: alike, or refused."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

import dtrak_stream
from dtrak_stream.cli.command_line import (
    EXIT_DONE,
    EXIT_REFUSED,
)
from tests.attribution.jobs import (
    datasets,
    score_flags,
)
from tests.small_jobs import (
    run_tool,
    small_job,
)


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("projector", {"projector": "rademacher"}),
        ("output_function", {"output_function": "l1"}),
        ("seed", {"seed": 1}),
        ("proj_dim", {"proj_dim": 128}),
        ("timesteps", {"timesteps": "list:0"}),
        ("noise_keying", {"noise": "per-sample"}),
        ("noise_draws", {"noise_draws": 2}),
        ("parameters", {"parameters": "bias"}),
        ("precision", {"precision": "bfloat16"}),
        ("weights", {}),
    ],
)
def test_queries_featurized_otherwise_are_refused(
    finished, model_folder, other_model_folder, sources, tmp_path, capsys, field, changes
):
    model = model_folder if changes else other_model_folder
    query = small_job(model, sources[1], tmp_path / "query", limit=1, **changes)
    dtrak_stream.featurize(query)
    command = score_flags(finished.config.run, query.store)
    code, out, errors = run_tool("score", command, capsys)
    assert (code, out) == (EXIT_REFUSED, "")
    (line,) = errors.splitlines()[-1:]
    assert line.startswith(f"error: {query.store}: {field} differs: stored ")
    assert not (tmp_path / "scores.h5").exists()


def test_queries_may_be_stored_otherwise(finished, model_folder, sources, tmp_path, capsys):
    query = small_job(
        model_folder, sources[1], tmp_path / "query", dtype="float32", rows_per_shard=1
    )
    dtrak_stream.featurize(query)
    command = score_flags(finished.config.run, query.store, damping="0.1")
    assert run_tool("score", command, capsys)[0] == EXIT_DONE
    expected = datasets(finished.config.run / "scores.h5")["scores"]
    found = datasets(tmp_path / "scores.h5")["scores"]
    assert np.allclose(found, expected, rtol=0.02, atol=1e-3 * np.abs(expected).max())


def test_features_of_another_method_are_refused(finished, tmp_path, capsys):
    shutil.copytree(finished.config.run / "query", tmp_path / "query")
    command = score_flags(finished.config.run, tmp_path / "query", method="trak")
    code, out, errors = run_tool("score", command, capsys)
    assert (code, out) == (EXIT_REFUSED, "")
    assert errors.startswith("error: --method trak: trak takes features of simple, elbo")
