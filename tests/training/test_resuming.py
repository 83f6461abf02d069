"""A run that was stopped goes on to the same bytes."""

from __future__ import annotations

import os
import signal
from collections import Counter

import pytest
import torch

from dtrak_stream.errors import (
    CorruptFileError,
    InterruptedRunError,
)
from dtrak_stream.training.optimisation import Optimisation
from dtrak_stream.training.run import train
from tests.crashing import start_beside
from tests.training.tiny_runs import (
    WEIGHTS,
    crash_at,
    folder_with_bad_images,
    power_cut,
    tiny,
    trained_bytes,
)


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory, everything) -> bytes:
    """Return what an uninterrupted run with everything switched on ends with."""
    torch.set_num_threads(1)
    return trained_bytes(tiny(tmp_path_factory.mktemp("whole"), **everything))


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory) -> bytes:
    """Return what an uninterrupted run of the simplest kind ends with."""
    torch.set_num_threads(1)
    return trained_bytes(tiny(tmp_path_factory.mktemp("plain")))


@pytest.mark.parametrize("step", [0, 4, 7, 11])
def test_crash_and_restart_give_the_same_bytes(tmp_path, monkeypatch, everything, whole_run, step):
    config = tiny(tmp_path / "crashed", **everything)
    with monkeypatch.context() as patch:
        crash_at(patch, step, power_cut)
        with pytest.raises(RuntimeError, match="power cut"):
            train(config, visible=False)
    assert trained_bytes(config) == whole_run


def test_kill_9_and_restart_give_the_same_bytes(tmp_path, monkeypatch, plain_run):
    config = tiny(tmp_path / "killed")
    with monkeypatch.context() as patch:
        crash_at(patch, 6, lambda: os.kill(os.getpid(), signal.SIGKILL))
        child = start_beside(lambda: train(config, visible=False))
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert (config.out / "checkpoint" / "state.pt").is_file()
    assert not (config.out / "model_index.json").exists()
    assert trained_bytes(config) == plain_run


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_the_step_it_arrived_in(tmp_path, monkeypatch, plain_run, number):
    config = tiny(tmp_path / "stopped")
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        crash_at(patch, 5, lambda: signal.raise_signal(number))
        with pytest.raises(InterruptedRunError, match="6 of 12 steps are saved"):
            train(config, visible=False)
    assert signal.getsignal(number) is before
    steps: Counter = Counter()
    step = Optimisation.step

    def counting(self, *arguments, **options):
        steps["taken"] += 1
        return step(self, *arguments, **options)

    monkeypatch.setattr(Optimisation, "step", counting)
    resumed = trained_bytes(config)
    assert steps["taken"] == 6
    assert resumed == plain_run


def test_second_ctrl_c_stops_at_once(tmp_path, monkeypatch):
    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    crash_at(monkeypatch, 5, twice)
    with pytest.raises(KeyboardInterrupt) as stopped:
        train(tiny(tmp_path), visible=False)
    assert not isinstance(stopped.value, InterruptedRunError)


def test_finished_run_is_not_done_again(tmp_path, monkeypatch):
    config = tiny(tmp_path)
    trained_bytes(config)
    crash_at(monkeypatch, 0, power_cut)
    assert train(config, visible=False).path == tmp_path
    assert not (tmp_path / "checkpoint").exists()


def test_flipped_byte_in_the_checkpoint_is_refused(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        crash_at(patch, 5, power_cut)
        with pytest.raises(RuntimeError):
            train(tiny(tmp_path), visible=False)
    checkpoint = tmp_path / "checkpoint" / "state.pt"
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 1
    checkpoint.write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"state\.pt"):
        train(tiny(tmp_path), visible=False)


def test_bad_images_do_not_change_a_resumed_run(tmp_path, monkeypatch):
    images = str(folder_with_bad_images(tmp_path / "images", {0, 1, 2, 3}))
    changes = {"images": images, "batch_size": 2}
    whole = trained_bytes(tiny(tmp_path / "whole", **changes))
    config = tiny(tmp_path / "stopped", **changes)
    with monkeypatch.context() as patch:
        crash_at(patch, 14, lambda: signal.raise_signal(signal.SIGINT))
        with pytest.raises(InterruptedRunError):
            train(config, visible=False)
    assert train(config, visible=False).quarantined == 4
    assert (config.out / WEIGHTS).read_bytes() == whole
