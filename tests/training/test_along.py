"""Weights along a training are those that the whole run has on its way."""

from __future__ import annotations

import pytest
import safetensors.torch
import torch

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.training.folder import TrainingFolder
from dtrak_stream.training.optimisation import Optimisation
from dtrak_stream.training.run import train, weights_along
from tests.training.tiny_runs import WEIGHTS, crash_at, power_cut, tiny, trained_bytes


def kept_bytes(config, shares):
    models = weights_along(config, shares, visible=False)
    return [(model / WEIGHTS).read_bytes() for model in models]


def test_weights_along_training_are_those_of_the_whole_run(tmp_path):
    config = tiny(tmp_path / "along")
    third, whole = kept_bytes(config, [1 / 3, 1.0])
    assert whole == trained_bytes(tiny(tmp_path / "whole"))
    run, seen = tiny(tmp_path / "seen"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingFolder, "save_checkpoint", lambda _, state: seen.append(copy(state)))
        train(run, visible=False)
    after_an_epoch = safetensors.torch.load(third)
    assert all(torch.equal(after_an_epoch[name], each) for name, each in seen[0].items())
    assert third != whole


def copy(state):
    return {name: each.clone() for name, each in state["network"].items()}


def test_a_crash_between_two_shares_changes_no_byte(tmp_path, monkeypatch):
    expected = kept_bytes(tiny(tmp_path / "whole"), [0.25, 0.75])
    config = tiny(tmp_path / "crashed")
    with monkeypatch.context() as patch:
        crash_at(patch, 7, power_cut)
        with pytest.raises(RuntimeError, match="power cut"):
            weights_along(config, [0.25, 0.75], visible=False)
    assert kept_bytes(config, [0.25, 0.75]) == expected


def test_what_is_kept_is_not_trained_again_and_more_goes_on_from_there(tmp_path, monkeypatch):
    config = tiny(tmp_path / "kept")
    first = kept_bytes(config, [0.25])
    taken = []
    step = Optimisation.step

    def counting(self, *arguments, **options):
        taken.append(self.steps_done)
        return step(self, *arguments, **options)

    monkeypatch.setattr(Optimisation, "step", counting)
    assert kept_bytes(config, [0.25]) == first
    assert taken == []
    kept_bytes(config, [0.25, 0.5])
    assert taken == [3, 4, 5]


def test_training_does_not_go_back(tmp_path):
    config = tiny(tmp_path / "past")
    weights_along(config, [0.5], visible=False)
    with pytest.raises(ConfigurationError, match=r"at step 6 .* step 3 before.*from the start"):
        weights_along(config, [0.25, 0.5], visible=False)


def test_averaged_weights_are_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="--ema"):
        weights_along(tiny(tmp_path / "averaged", ema=True), [0.5], visible=False)
    assert not (tmp_path / "averaged").exists()
