"""Stores that a GPU fills: the same bytes each time, the features of the CPU, resumable there."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from dtrak_stream.errors import FingerprintMismatchError, InterruptedRunError
from dtrak_stream.features.gradient_featurizer import Featurizer
from dtrak_stream.featurizing.options import ExecutionOptions
from dtrak_stream.featurizing.run import featurize
from dtrak_stream.store.reader import FeatureStore
from tests.small_jobs import HOOKED, fingerprint_of, small_job, stored

EXACT = ExecutionOptions(engine="timestep-batched", batch_size=2)


def filled(model, sources, store, device, **options):
    config = small_job(model, sources[0], store, device=str(device), dtype="float32", **options)
    featurize(config)
    return config


def features_of(store):
    features = FeatureStore.open(store)
    return features.rows(range(len(features)))


def share_of_difference(actual, expected):
    return np.linalg.norm(actual - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("execution", [HOOKED, EXACT])
@pytest.mark.parametrize("projector", ["sketch", "rademacher"])
def test_a_store_has_the_same_bytes_each_time(
    device, model_folder, sources, tmp_path, execution, projector
):
    for name in ("first", "second"):
        options = {"execution": execution, "projector": projector}
        filled(model_folder, sources, tmp_path / name, device, **options)
    assert stored(tmp_path / "first") == stored(tmp_path / "second")


@pytest.mark.parametrize("execution", [HOOKED, EXACT, ExecutionOptions()])
def test_features_are_those_of_the_cpu(device, model_folder, sources, tmp_path, execution):
    for where in ("cpu", str(device)):
        filled(model_folder, sources, tmp_path / where, where, execution=execution)
    found, expected = features_of(tmp_path / str(device)), features_of(tmp_path / "cpu")
    assert share_of_difference(found, expected) < 1e-4
    assert fingerprint_of(tmp_path / str(device)) == fingerprint_of(tmp_path / "cpu")


def interrupted(config, monkeypatch, after):
    """Begin a run, and interrupt it after some batches."""
    features = Featurizer.features
    batches: list[tuple[str, ...]] = []

    def few(self, samples):
        if len(batches) == after:
            raise KeyboardInterrupt
        batches.append(samples.ids)
        return features(self, samples)

    with monkeypatch.context() as patch:
        patch.setattr(Featurizer, "features", few)
        with pytest.raises(InterruptedRunError):
            featurize(config)


def execution_of(store):
    return json.loads((store / "store.json").read_text())["run"]["execution"]


def test_a_run_that_a_gpu_began_is_chosen_anew_on_the_cpu_and_finished_there(
    gpu, model_folder, sources, tmp_path, monkeypatch
):
    options: dict[str, Any] = {"rows_per_shard": 8, "execution": ExecutionOptions()}
    whole = small_job(model_folder, sources[0], tmp_path / "whole", device="cpu", **options)
    config = small_job(model_folder, sources[0], tmp_path / "s", device=str(gpu), **options)
    interrupted(config, monkeypatch, after=3)
    began_with = execution_of(config.store)
    on_cpu = dataclasses.replace(config.features, device="cpu")
    featurize(dataclasses.replace(config, features=on_cpu))
    featurize(whole)
    assert began_with["device"] != execution_of(config.store)["device"] == "cpu"
    found, expected = features_of(config.store), features_of(whole.store)
    assert share_of_difference(found, expected) < 1e-4


def test_tf32_gives_other_features_of_another_fingerprint(gpu, model_folder, sources, tmp_path):
    full = filled(model_folder, sources, tmp_path / "full", gpu)
    filled(model_folder, sources, tmp_path / "tf32", gpu, precision="tf32")
    assert fingerprint_of(tmp_path / "full") != fingerprint_of(tmp_path / "tf32")
    difference = share_of_difference(features_of(tmp_path / "tf32"), features_of(tmp_path / "full"))
    assert 0 < difference < 0.05
    other = dataclasses.replace(full.features, precision="tf32")
    with pytest.raises(FingerprintMismatchError, match="precision"):
        featurize(dataclasses.replace(full, features=other))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("execution", [HOOKED, EXACT])
def test_half_precision_gives_nearly_the_same_features(
    gpu, model_folder, sources, tmp_path, precision, execution
):
    filled(model_folder, sources, tmp_path / "full", gpu, execution=execution)
    filled(model_folder, sources, tmp_path / "half", gpu, execution=execution, precision=precision)
    difference = share_of_difference(features_of(tmp_path / "half"), features_of(tmp_path / "full"))
    assert 0 < difference < 0.1
