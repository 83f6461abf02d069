"""Engine and batch size: chosen by measuring, kept with the store, halved when memory runs out."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dtrak_stream.data.images import open_images
from dtrak_stream.data.samples import SampleBatch, read_batch
from dtrak_stream.errors import ConfigurationError, InterruptedRunError, MemoryLimitError
from dtrak_stream.features.gradient_features import make_featurizer
from dtrak_stream.features.gradient_featurizer import Featurizer
from dtrak_stream.featurizing.execution import Execution
from dtrak_stream.featurizing.options import ExecutionOptions, FeaturizeConfig
from dtrak_stream.featurizing.run import featurize
from dtrak_stream.support.memory import peak_memory
from tests.crashing import contents
from tests.featurizing.small_runs import OPTIONS, choose, config_of, features_of


def record_ids(monkeypatch):
    """Record the ids of all images that are featurized from now on."""
    seen: list[str] = []
    features = Featurizer.features

    def recording(self, batch):
        seen.extend(batch.ids)
        return features(self, batch)

    monkeypatch.setattr(Featurizer, "features", recording)
    return seen


def test_compiling_changes_no_feature(model_folder, images, tmp_path, monkeypatch):
    compiled: list[str] = []
    compiler = torch.compile

    def traced(network, dynamic):
        compiled.append(type(network).__name__)
        return compiler(network, dynamic=dynamic, backend="eager")  # needs no C++ compiler

    monkeypatch.setattr(torch, "compile", traced)
    found = {}
    for wanted in (False, True):
        execution = ExecutionOptions("timestep-batched", 5, compile=wanted)
        featurize(config_of(images, model_folder, tmp_path / str(wanted), execution=execution))
        found[wanted] = features_of(tmp_path / str(wanted))
    assert compiled == ["UNet2DModel"]
    assert np.allclose(found[True], found[False], rtol=1e-3, atol=1e-5 * abs(found[False]).max())


def test_compiling_the_hooked_engine_is_refused():
    with pytest.raises(ConfigurationError, match="--engine timestep-batched, or auto"):
        ExecutionOptions("hooked", compile=True)


def test_no_images_in_a_batch_is_refused():
    with pytest.raises(ConfigurationError, match=r"--batch-size: 0.*; give a whole number of at"):
        ExecutionOptions(batch_size=0)


def test_neither_the_reason_of_a_choice_nor_memory_is_said_to_change_bits():
    chosen = Execution("hooked", 3, 30, ("a", "b"), "because")
    again = dataclasses.replace(chosen, reason="as asked for", free=7, needed=5)
    assert chosen.numerics() == again.numerics()
    assert chosen.numerics() != dataclasses.replace(chosen, batch_size=4).numerics()


def test_a_choice_survives_the_disk():
    execution = Execution("hooked", 3, 30, ("a", "b"), "because")
    assert Execution.recorded(json.loads(json.dumps(execution.record()))) == execution


def test_features_do_not_depend_on_engine_or_batch(model_folder, images, tmp_path):
    for number, options in enumerate(
        [
            ExecutionOptions("timestep-batched"),
            ExecutionOptions("hooked", 1),
            ExecutionOptions("hooked", 3),
            ExecutionOptions("hooked", 100),
            ExecutionOptions(),
        ]
    ):
        featurize(config_of(images, model_folder, tmp_path / str(number), execution=options))
    first = features_of(tmp_path / "0")
    for number in range(1, 5):
        other = features_of(tmp_path / str(number))
        assert np.linalg.norm(other - first) < 1e-5 * np.linalg.norm(first)


def test_the_store_remembers_how_it_was_computed_and_how_long_it_took(
    model_folder, images, tmp_path
):
    featurize(config_of(images, model_folder, tmp_path / "s"))
    record = json.loads((tmp_path / "s" / "store.json").read_text())["run"]
    assert record["execution"]["engine"] == "hooked"
    assert {
        "decode",
        "encode",
        "noise",
        "forward",
        "backward",
        "projection",
        "copy",
        "write",
    } == set(record["stage_seconds"])
    assert all(seconds > 0 for seconds in record["stage_seconds"].values())
    chosen = record["calibration"]
    assert min(chosen["cpu_seconds"], chosen["seconds"]) > 0
    # the kernel sums what each processor counted only now and then, so a later peak may read lower
    assert 2**27 < chosen["peak_bytes"] < peak_memory() + 2**24


def out_of_memory_above(limit, engine):
    """Make an engine run out of memory with more than `limit` pairs in a pass."""
    task = engine.task
    noised = type(task).noised

    def small_only(self, samples, pairs):
        if len(samples) * len(pairs) > limit:
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`")
        return noised(self, samples, pairs)

    return small_only


@pytest.mark.parametrize("limit", [1, 3, 8])
def test_out_of_memory_halves_the_batch_and_goes_on(model_folder, images, monkeypatch, limit):
    featurizer, execution = choose(model_folder, images, ExecutionOptions("hooked", 16))
    execution.apply(featurizer)
    source = open_images(images, featurizer.image_shape, visible=False)
    batch, _ = read_batch(source, range(16))
    expected = featurizer.features(batch)
    monkeypatch.setattr(
        "dtrak_stream.gradients.task.GradientTask.noised",
        out_of_memory_above(limit, featurizer.engine),
    )
    torch.testing.assert_close(featurizer.features(batch), expected, rtol=1e-4, atol=1e-6)
    assert featurizer.batch_size <= max(1, limit // 2)
    torch.testing.assert_close(featurizer.features(batch), expected, rtol=1e-4, atol=1e-6)


def test_residuals_that_do_not_fit_are_computed_in_smaller_batches(
    model_folder, images, monkeypatch
):
    options = dataclasses.replace(OPTIONS, timestep_weights="unit-gradient")
    featurizer = make_featurizer(model_folder, options)
    source = open_images(images, featurizer.image_shape, visible=False)
    batch, _ = read_batch(source, range(16))
    expected = featurizer.residuals(batch)
    monkeypatch.setattr(
        "dtrak_stream.gradients.task.GradientTask.noised",
        out_of_memory_above(3, featurizer.engine),
    )
    torch.testing.assert_close(featurizer.residuals(batch), expected, rtol=1e-4, atol=1e-6)


def test_no_room_for_one_image_is_refused(model_folder, images, monkeypatch):
    featurizer, execution = choose(model_folder, images, ExecutionOptions("hooked", 4))
    execution.apply(featurizer)
    monkeypatch.setattr(
        "dtrak_stream.gradients.task.GradientTask.noised",
        out_of_memory_above(0, featurizer.engine),
    )
    with pytest.raises(MemoryLimitError, match="one image at one timestep"):
        featurizer.features(SampleBatch(tuple("abcd"), torch.zeros(4, 1, 8, 8)))


def test_other_errors_are_not_taken_for_lack_of_memory(model_folder, images):
    featurizer, execution = choose(model_folder, images, ExecutionOptions("hooked", 4))
    execution.apply(featurizer)
    with pytest.raises(RuntimeError, match="channels"):
        featurizer.features(SampleBatch(tuple("abcd"), torch.zeros(4, 3, 8, 8)))


@pytest.fixture(scope="module")
def whole(model_folder, images, tmp_path_factory) -> FeaturizeConfig:
    """A finished run in batches of two."""
    execution = ExecutionOptions("hooked", 2)
    store: Path = tmp_path_factory.mktemp("whole") / "s"
    config: FeaturizeConfig = config_of(images, model_folder, store, execution=execution)
    featurize(config)
    return config


@pytest.mark.parametrize("after", [0, 1, 4, 5, 9])
def test_ctrl_c_loses_no_computed_row(whole, tmp_path, monkeypatch, after):
    config = dataclasses.replace(whole, store=tmp_path / "interrupted")
    computed: list[tuple[str, ...]] = []
    features = Featurizer.features

    def interrupting(self, batch):
        if len(computed) == after:
            raise KeyboardInterrupt
        computed.append(batch.ids)
        return features(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Featurizer, "features", interrupting)
        with pytest.raises(InterruptedRunError) as stop:
            featurize(config)
    assert (f"{2 * after % 8} rows of the next" in str(stop.value)) == (2 * after % 8 > 0)
    seen = record_ids(monkeypatch)
    featurize(config)
    assert len(seen) == 20 - 2 * after
    for pattern in ("shards/**/*", "features.h5"):
        assert contents(config.store, pattern) == contents(whole.store, pattern)


def test_rows_kept_under_another_execution_are_not_used(
    model_folder, images, tmp_path, monkeypatch
):
    config = config_of(
        images, model_folder, tmp_path / "s", execution=ExecutionOptions("hooked", 4)
    )
    features = Featurizer.features
    calls: list[int] = []

    def once(self, batch):
        if calls:
            raise KeyboardInterrupt
        calls.append(1)
        return features(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Featurizer, "features", once)
        with pytest.raises(InterruptedRunError):
            featurize(config)
    assert list((tmp_path / "s" / "shards").glob("*.parts"))
    seen = record_ids(monkeypatch)
    featurize(dataclasses.replace(config, execution=ExecutionOptions("hooked", 3)))
    assert len(seen) == 20
    assert not list((tmp_path / "s" / "shards").glob("*.parts"))
