"""The choice of engine and batch: measured, said, and made again where the machine is another."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from dtrak_stream.errors import ConfigurationError, InterruptedRunError
from dtrak_stream.features.gradient_featurizer import Featurizer
from dtrak_stream.featurizing.options import ExecutionOptions
from dtrak_stream.featurizing.run import featurize
from tests.featurizing.small_runs import OPTIONS, choose, config_of, features_of


def test_asking_for_engine_and_batch_is_obeyed(model_folder, images):
    for name in ("hooked", "timestep-batched"):
        _, execution = choose(model_folder, images, ExecutionOptions(name, 5))
        assert (execution.engine, execution.batch_size) == (name, 5)
        assert execution.pairs_per_pass == 10


@pytest.mark.parametrize("timesteps", [2, 4])  # too few for any batch, and for all but one
def test_few_images_are_not_measured_and_take_a_batch_of_some_size(model_folder, images, timesteps):
    options = dataclasses.replace(OPTIONS, timesteps=str(timesteps))
    _, execution = choose(model_folder, images, feature_options=options)
    assert execution.engine == "hooked"
    assert "too few" in execution.reason
    assert execution.batch_size == 64 // timesteps


def test_a_batch_is_of_one_image_at_least_however_many_timesteps_it_has(
    model_folder, images, monkeypatch
):
    monkeypatch.setattr("dtrak_stream.featurizing.calibration._SHARE_OF_IMAGES", 0.0)
    for timesteps, size in (("32", 2), ("64", 1), ("100", 1)):
        options = dataclasses.replace(OPTIONS, timesteps=timesteps)
        _, execution = choose(model_folder, images, feature_options=options)
        assert (execution.batch_size, execution.pairs_per_pass) == (size, 64)


def test_the_fastest_of_several_is_taken_and_the_reason_says_so(model_folder, images, monkeypatch):
    monkeypatch.setattr("dtrak_stream.featurizing.calibration._PAIRS", (2, 8, 16))
    monkeypatch.setattr("dtrak_stream.featurizing.calibration._SHARE_OF_IMAGES", 1.0)
    monkeypatch.setattr("dtrak_stream.featurizing.calibration._WORTH", 0.0)
    _, execution = choose(model_folder, images)
    rates = {}
    for part in execution.reason.partition("the fastest of: ")[2].partition(";")[0].split(", "):
        engine, _, size, rate, _ = part.split()
        rates[engine, int(size)] = float(rate)
    assert set(rates) == {("hooked", 1), ("hooked", 4), ("hooked", 8), ("timestep-batched", 64)}
    assert rates[execution.engine, execution.batch_size] == max(rates.values())


def test_a_batch_that_would_not_fit_is_not_tried(model_folder, images, monkeypatch):
    monkeypatch.setattr("dtrak_stream.featurizing.calibration._PAIRS", (2, 8, 16))
    monkeypatch.setattr("dtrak_stream.featurizing.calibration._SHARE_OF_IMAGES", 1.0)
    monkeypatch.setattr("dtrak_stream.featurizing.calibration.free_memory", lambda _: -1)
    _, execution = choose(model_folder, images)
    assert "hooked x 4" not in execution.reason
    assert "hooked x 1" in execution.reason


@pytest.mark.parametrize(("fitting", "batch"), [(1, 1), (7, 3)])
def test_a_pass_is_no_larger_than_there_is_memory_for(
    model_folder, images, monkeypatch, fitting, batch
):
    monkeypatch.setattr(Featurizer, "pairs_that_fit", lambda _: fitting)
    _, execution = choose(model_folder, images)
    assert (execution.batch_size, execution.pairs_per_pass) == (batch, fitting)
    assert "no more in one pass" in execution.reason
    for engine in ("hooked", "timestep-batched"):
        _, execution = choose(model_folder, images, ExecutionOptions(engine, 5))
        assert (execution.batch_size, execution.pairs_per_pass) == (5, fitting)


def test_a_model_without_rules_takes_the_exact_engine(model_folder, images, monkeypatch):
    monkeypatch.setattr(
        "dtrak_stream.features.gradient_featurizer.served_parameters", lambda _: frozenset()
    )
    _, execution = choose(model_folder, images)
    assert execution.engine == "timestep-batched"
    with pytest.raises(ConfigurationError, match=r"--engine hooked.*timestep-batched"):
        choose(model_folder, images, ExecutionOptions("hooked"))


def test_parameters_without_a_layer_rule_are_counted_and_the_first_of_them_named(
    model_folder, images, monkeypatch, capsys
):
    names = choose(model_folder, images, ExecutionOptions("hooked", 5))[0].parameter_names
    assert "layer rule" not in capsys.readouterr().err
    for others, told in ((names[:2], ", ".join(names[:2])), (names[:7], ", ".join(names[:5]))):
        served = frozenset(names) - set(others)
        monkeypatch.setattr(
            "dtrak_stream.features.gradient_featurizer.served_parameters", lambda _, s=served: s
        )
        choose(model_folder, images, ExecutionOptions("hooked", 5))
        more = ", ..." if len(others) > 5 else ""
        line = f"{len(others)} of {len(names)} parameters have no layer rule and take a pass of"
        assert f"{line} their own: {told}{more}\n" in capsys.readouterr().err


@pytest.fixture
def begun(model_folder, images, tmp_path, monkeypatch):
    """The command of a run that was interrupted after its first batch, and its record."""
    config = config_of(images, model_folder, tmp_path / "s")
    features = Featurizer.features

    def once(self, batch):
        if batch.ids[0] != "0":
            raise KeyboardInterrupt
        return features(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Featurizer, "features", once)
        patch.setattr("dtrak_stream.featurizing.calibration._UNTRIED_PAIRS", 8)
        with pytest.raises(InterruptedRunError):
            featurize(config)
    return config


def record_of(config):
    return json.loads((config.store / "store.json").read_text())["run"]["execution"]


def change_record(config, **changes):
    path = config.store / "store.json"
    plan = json.loads(path.read_text())
    plan["run"]["execution"] |= changes
    path.write_text(json.dumps(plan))


def test_a_run_that_goes_on_on_the_same_machine_executes_as_it_began(begun):
    before = record_of(begun)
    assert before["batch_size"] == 4
    assert before["device"] == "cpu"
    assert before["free"] > 0
    featurize(begun)
    assert record_of(begun) == before


@pytest.mark.parametrize(
    "changes",
    [
        {"device": "NVIDIA H100"},
        {"device": ""},  # not said by the versions before
        {"free": 2**60, "needed": 2**50},
    ],
)
def test_an_execution_of_another_machine_is_chosen_again(begun, tmp_path, changes):
    change_record(begun, batch_size=512, pairs_per_pass=1024, **changes)
    featurize(begun)
    chosen = record_of(begun)
    assert (chosen["batch_size"], chosen["pairs_per_pass"], chosen["device"]) == (32, 64, "cpu")
    whole = dataclasses.replace(begun, store=tmp_path / "whole")
    featurize(whole)
    expected = features_of(whole.store)
    assert np.linalg.norm(features_of(begun.store) - expected) < 1e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize(
    "changes", [{"free": 2**60, "needed": 0}, {"free": 1, "needed": 2**50}, {"needed": 2**50}]
)
def test_memory_that_comes_and_goes_changes_no_execution(begun, changes):
    change_record(begun, batch_size=5, **changes)
    featurize(begun)
    assert record_of(begun)["batch_size"] == 5
