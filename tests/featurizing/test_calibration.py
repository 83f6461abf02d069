"""The choice of engine and batch: the same each time, cheap, said, and made again elsewhere."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from dtrak_stream.errors import ConfigurationError, InterruptedRunError
from dtrak_stream.features.gradient_featurizer import Featurizer
from dtrak_stream.featurizing import calibration
from dtrak_stream.featurizing.options import ExecutionOptions
from dtrak_stream.featurizing.run import featurize
from dtrak_stream.gradients.task import GradientTask
from tests.featurizing.small_runs import OPTIONS, choose, config_of, features_of


def test_asking_for_engine_and_batch_is_obeyed(model_folder, images):
    for name in ("hooked", "timestep-batched"):
        _, execution = choose(model_folder, images, ExecutionOptions(name, 5))
        assert (execution.engine, execution.batch_size) == (name, 5)
        assert execution.pairs_per_pass == 10


CALIBRATION = "dtrak_stream.featurizing.calibration"


def keeping(monkeypatch, kept):
    """Make a pass keep so many bytes at most, of one each pair."""
    monkeypatch.setitem(calibration._KEPT, "cpu", kept)
    monkeypatch.setattr(Featurizer, "bytes_of_a_pair", 1)


@pytest.mark.parametrize(
    ("kept", "timesteps", "batch", "pairs"),
    [
        (40, 2, 20, 40),
        (41, 2, 20, 40),  # half an image more is none
        (40, 4, 10, 40),
        (1000, 2, 256, 512),  # more were never faster
        (4, 4, 1, 4),
        (7, 10, 1, 5),  # two equal passes of one image
        (0, 4, 1, 2),  # a single pair is more than that, but layer rules take two
    ],
)
def test_a_batch_is_as_large_as_what_a_pass_may_keep(
    model_folder, images, monkeypatch, kept, timesteps, batch, pairs
):
    keeping(monkeypatch, kept)
    options = dataclasses.replace(OPTIONS, timesteps=str(timesteps))
    _, execution = choose(model_folder, images, feature_options=options)
    assert (execution.engine, execution.batch_size, execution.pairs_per_pass) == (
        "hooked",
        batch,
        pairs,
    )
    assert execution.needed == pairs


def test_what_a_pass_keeps_is_counted_of_the_model(model_folder, images):
    featurizer, execution = choose(model_folder, images)
    assert featurizer.bytes_of_a_pair == featurizer.task.bytes_of_a_pair > 1000
    assert execution.needed == execution.pairs_per_pass * featurizer.bytes_of_a_pair


def watched(monkeypatch):
    """Record how many images each engine computes while an execution is chosen."""
    seen: list[tuple[str, int]] = []
    features = Featurizer.features

    def recording(self, batch):
        seen.append((self.engine.name, len(batch)))
        return features(self, batch)

    monkeypatch.setattr(Featurizer, "features", recording)
    return seen


def test_where_a_pass_holds_several_images_nothing_is_timed(model_folder, images, monkeypatch):
    seen = watched(monkeypatch)
    monkeypatch.setattr(f"{CALIBRATION}._IN_ALL", 1)
    _, execution = choose(model_folder, images)
    assert (execution.engine, seen) == ("hooked", [])


@pytest.mark.parametrize(("in_all", "hooked"), [(1, 2), (4, 1)])
def test_both_engines_are_timed_where_a_pass_holds_one_image_and_the_faster_one_is_taken(
    model_folder, images, monkeypatch, in_all, hooked
):
    seen = watched(monkeypatch)
    monkeypatch.setattr(f"{CALIBRATION}._IN_ALL", in_all)
    keeping(monkeypatch, 3)
    _, execution = choose(model_folder, images)
    assert seen == [
        ("hooked", 1), ("hooked", hooked), ("timestep-batched", 1), ("timestep-batched", 2),
    ]  # fmt: skip
    assert sum(count for _, count in seen) <= 20 // in_all + 1
    rates = {}
    for part in execution.reason.partition("the faster one of: ")[2].split(", "):
        engine, rate, _ = part.split()
        rates[engine] = float(rate)
    assert set(rates) == {"hooked", "timestep-batched"}
    assert rates[execution.engine] == max(rates.values())


def test_engines_are_not_timed_on_more_than_a_fiftieth_of_the_images(
    model_folder, images, monkeypatch
):
    seen = watched(monkeypatch)
    keeping(monkeypatch, 3)
    _, execution = choose(model_folder, images)
    assert (execution.engine, seen) == ("hooked", [])
    assert "too few images" in execution.reason


@pytest.mark.parametrize(("kept", "engine"), [(3, "timestep-batched"), (4, "hooked")])
def test_some_layers_without_rules_are_worth_the_hooked_engine_for_small_images_only(
    model_folder, images, monkeypatch, kept, engine
):
    keeping(monkeypatch, kept)
    served = frozenset(choose(model_folder, images)[0].parameter_names[:-1])
    monkeypatch.setattr(
        "dtrak_stream.features.gradient_featurizer.served_parameters", lambda _: served
    )
    _, execution = choose(model_folder, images)
    assert execution.engine == engine
    assert "too few images" in execution.reason


def test_layer_rules_are_tried_once_for_all_images_of_one_model(model_folder, images, monkeypatch):
    tried: list[GradientTask] = []

    def try_rules(task: GradientTask) -> frozenset[str]:
        tried.append(task)
        return frozenset(task.parameters)

    monkeypatch.setattr("dtrak_stream.features.gradient_featurizer.served_parameters", try_rules)
    featurizer, _ = choose(model_folder, images)
    again = dataclasses.replace(featurizer, batch_size=3)
    assert again.served_parameters() == featurizer.served_parameters() != frozenset()
    assert len(tried) == 1


@pytest.mark.parametrize(("fitting", "batch", "pairs"), [(1, 1, 1), (7, 3, 6)])
def test_a_pass_is_no_larger_than_there_is_memory_for(
    model_folder, images, monkeypatch, fitting, batch, pairs
):
    monkeypatch.setattr(Featurizer, "pairs_that_fit", lambda _: fitting)
    _, execution = choose(model_folder, images)
    assert (execution.batch_size, execution.pairs_per_pass) == (batch, pairs)
    assert "no more in one pass" in execution.reason
    for engine in ("hooked", "timestep-batched"):
        _, execution = choose(model_folder, images, ExecutionOptions(engine, 5))
        assert (execution.batch_size, execution.pairs_per_pass) == (5, pairs)


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
        patch.setitem(calibration._MOST_PAIRS, "cpu", 8)
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
    assert (chosen["batch_size"], chosen["pairs_per_pass"], chosen["device"]) == (256, 512, "cpu")
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
