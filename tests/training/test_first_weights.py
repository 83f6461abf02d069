"""Training that begins with a model that is there: what it takes, and what it refuses."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

from dtrak_stream.errors import ConfigurationError, FingerprintMismatchError
from dtrak_stream.evaluation.recipe import read_recipe
from dtrak_stream.support.provenance import flat_options
from dtrak_stream.training.configuration import NoiseScheduleOptions
from dtrak_stream.training.run import train
from tests.training.tiny_runs import EVERYTHING, WEIGHTS, tiny, trained_bytes

_FLAG = "start-from"


@pytest.fixture(scope="module")
def first(tmp_path_factory) -> str:
    return str(train(tiny(tmp_path_factory.mktemp("first") / "model"), visible=False).path)


def test_training_begins_with_the_weights_of_that_model(first, tmp_path):
    still = tiny(tmp_path / "still", start_from=first, steps=1, learning_rate=1e-30, seed=1)
    train(dataclasses.replace(still), visible=False)
    begun_with, ended_with = load_file(Path(first) / WEIGHTS), load_file(still.out / WEIGHTS)
    assert begun_with.keys() == ended_with.keys()
    for name, weights in begun_with.items():
        assert (weights == ended_with[name]).all()


def test_no_random_number_of_the_first_weights_is_left(first, tmp_path):
    """With a seed that differs in nothing but weights that are thrown away, steps are the same."""
    further = trained_bytes(tiny(tmp_path / "a", start_from=first, epochs=1))
    assert further == trained_bytes(tiny(tmp_path / "b", start_from=first, epochs=1))
    assert further != trained_bytes(tiny(tmp_path / "c", epochs=1))


def test_another_model_does_not_continue_a_run_and_the_same_elsewhere_does(first, tmp_path):
    other = str(train(tiny(tmp_path / "other", seed=3), visible=False).path)
    config = tiny(tmp_path / "run", start_from=first)
    done = trained_bytes(config)
    with pytest.raises(FingerprintMismatchError, match="first-weights"):
        train(dataclasses.replace(config, start_from=other), visible=False)
    with pytest.raises(FingerprintMismatchError, match="first-weights"):
        train(dataclasses.replace(config, start_from=None), visible=False)
    moved = shutil.copytree(first, tmp_path / "moved")
    assert trained_bytes(dataclasses.replace(config, start_from=str(moved))) == done


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architecture": EVERYTHING}, "is another one: .* is not there in it"),
        ({"noise_schedule": NoiseScheduleOptions(num_train_timesteps=40)}, "another noise"),
        ({"noise_schedule": NoiseScheduleOptions("v_prediction")}, "another noise"),
    ],
)
def test_a_model_of_other_layers_or_noise_is_refused_before_anything_is_written(
    first, tmp_path, changes, words
):
    config = tiny(tmp_path / "run", start_from=first, **changes)
    with pytest.raises(ConfigurationError, match=words):
        train(config, visible=False)
    assert not (config.out / "fingerprint.json").exists()


def test_models_are_retrained_from_the_same_first_weights(first, tmp_path):
    full = str(train(tiny(tmp_path / "full", start_from=first), visible=False).path)
    recipe = read_recipe(full, visible=False)
    assert flat_options(recipe.on_subset(tmp_path / "s.npy", tmp_path / "m", 1))[_FLAG] == first
    described = recipe.described()
    assert described["base"] == recipe.base != ""
    scratch = str(train(tiny(tmp_path / "scratch"), visible=False).path)
    assert "base" not in read_recipe(scratch, visible=False).described()


def test_other_first_weights_than_those_of_the_full_model_are_refused(tmp_path):
    begun = train(tiny(tmp_path / "begun"), visible=False).path
    full = str(train(tiny(tmp_path / "full", start_from=str(begun)), visible=False).path)
    other = train(tiny(tmp_path / "other", seed=3), visible=False).path
    shutil.copy(other / WEIGHTS, begun / WEIGHTS)
    with pytest.raises(FingerprintMismatchError, match="first-weights"):
        read_recipe(full, visible=False)
