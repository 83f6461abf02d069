"""The benchmark of killed runs: processes die, stores end whole, other bytes are told."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from dtrak_stream.benchmark.kills import run as run_module
from dtrak_stream.benchmark.kills.lives import Killing, Life, Seen, live
from dtrak_stream.benchmark.kills.options import KillsConfig
from dtrak_stream.benchmark.kills.pace import Pace, Rate
from dtrak_stream.benchmark.kills.run import measure_kills, moments
from dtrak_stream.benchmark.kills.same_bytes import compare, copy_without, shard_names
from dtrak_stream.benchmark.kills.subject import make_subject
from dtrak_stream.benchmark.own_process import MeasuringFailedError
from dtrak_stream.errors import ConfigurationError
from tests.commands_here import run_command
from tests.small_jobs import fingerprint_of


def tiny(folder: Path, **changes) -> KillsConfig:
    options = {"images": 12, "rows_per_shard": 2, "batch_size": 2, "kills": 1, "deep": 1}
    return KillsConfig(**{**options, "work": folder, "out": folder / "out", **changes})


WRITES = """
import pathlib, sys, time
shards = pathlib.Path(sys.argv[1]) / "shards"
shards.mkdir(parents=True, exist_ok=True)
while time.process_time() < 0.05:  # the processor's time is told in hundredths of a second
    pass
for number in range(int(sys.argv[2])):
    time.sleep(0.1)
    (shards / f"{number:08d}.h5").write_bytes(b"")
"""


def writes(store: Path, shards: int) -> list[str]:
    return [sys.executable, "-I", "-c", WRITES, str(store), str(shards)]


def test_a_process_is_killed_once_the_shards_are_there(tmp_path):
    life = live(
        writes(tmp_path / "store", 100), tmp_path / "store", tmp_path / "log", Killing(3, 0.5)
    )
    assert life.was_killed
    assert 3 <= len(shard_names(tmp_path / "store")) < 100
    assert [seen.shards for seen in life.seen[:4]] == [0, 1, 2, 3]
    assert life.seconds >= 0.3 > life.cpu_seconds > 0


def test_a_process_that_is_faster_ends_by_itself(tmp_path):
    life = live(
        writes(tmp_path / "store", 2), tmp_path / "store", tmp_path / "log", Killing(3, 0.5)
    )
    assert not life.was_killed
    assert life.seen[-1].shards == 2


def test_a_process_that_fails_is_told(tmp_path):
    failing = [sys.executable, "-c", "raise SystemExit('no room')"]
    with pytest.raises(MeasuringFailedError, match="exit code 1: no room"):
        live(failing, tmp_path, tmp_path / "log")


def test_kills_are_spread_over_the_run_the_same_for_a_seed():
    config = KillsConfig(seed=3)
    found = moments(config)
    shards = [each.shards for each in found]
    assert shards == sorted(set(shards))
    assert len(shards) == 10
    assert 0 < shards[0] <= shards[-1] < config.num_shards - 1
    assert found == moments(config) != moments(KillsConfig(seed=4))


def test_rates_leave_out_starts_and_ends_of_processes():
    starts = [Seen(0, 0.0, 0.0), Seen(1, 50.0, 5.0), Seen(2, 52.0, 6.0), Seen(2, 90.0, 9.0)]
    goes_on = [Seen(2, 0.0, 0.0), *(Seen(3 + i, 40.0 + i, 4.0 + i) for i in range(38))]
    lives = [Life(starts), Life(goes_on)]
    pace = Pace(num_shards=40, rows_per_shard=10, images=395)
    assert pace.of_first_tenth(lives) == Rate(20 / 3.0, 20 / 2.0)  # shards 1 to 2, 3 to 4
    assert pace.of_last_tenth(lives) == Rate(35 / 4.0, 35 / 4.0)
    assert pace.of_last_tenth(lives[:1]) == Rate(0.0, 0.0)


def test_a_copy_without_shards_is_filled_again_to_the_same_bytes(tmp_path):
    config = tiny(tmp_path)
    subject = make_subject(config, tmp_path)
    store, copy = tmp_path / "store", tmp_path / "copy"
    assert run_command(*subject.command(config, "best", store)[3:]).code == 0
    names = shard_names(store)
    copy_without(store, copy, names[3:5])
    assert shard_names(copy) == names[:3] + names[5:]
    assert compare(store, copy, names).others == (names[3], names[4])
    assert run_command(*subject.command(config, "best", copy)[3:]).code == 0
    assert compare(store, copy, names) == compare(store, store, names)
    assert compare(store, copy, names).shards == 6
    assert fingerprint_of(copy) == fingerprint_of(store)
    (copy / "shards" / names[5]).unlink()  # the same file as in the store
    (copy / "shards" / names[5]).write_bytes(b"other")
    assert compare(store, copy, names).others == (names[5],)


def test_a_model_of_fashion_mnist_is_trained_and_its_files_are_featurized(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 28, 28), dtype=np.uint8)
    header = b"\x00\x00\x08\x03" + b"".join(n.to_bytes(4, "big") for n in pixels.shape)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(header + pixels.tobytes()))
    config = tiny(tmp_path, fashion_mnist=tmp_path, steps=2)
    subject = make_subject(config, tmp_path)
    store = tmp_path / "store"
    assert run_command(*subject.command(config, "d-trak", store)[3:]).code == 0
    found = fingerprint_of(store)
    assert (found.samples, found.image_shape, found.timesteps[:2]) == (12, "1x8x8", (0, 100))


@pytest.fixture
def here(monkeypatch):
    """Commands run in this process; where one is to be killed, what it did after is taken back."""
    spoilt: list[str] = []

    def lived(command, store, log, killing=None):
        told = run_command(*command[3:])
        assert told.code == 0, told.stderr
        for name in shard_names(store)[killing.shards :] if killing else []:
            (store / "shards" / name).unlink()
        for name in spoilt if store.name == "undisturbed" else []:
            (store / "shards" / name).write_bytes(b"other")
        return Life([Seen(0, 0.0, 0.0)], was_killed=killing is not None, seconds=2.0)

    monkeypatch.setattr(run_module, "live", lived)
    return spoilt


def test_both_runs_of_a_method_are_told_and_nothing_is_left(here, tmp_path):
    page = measure_kills(tiny(tmp_path)).path.read_text()
    assert "12 random images, the model that comes along, 8x8" in page
    killed, undisturbed, in_part = json.loads((tmp_path / "out.json").read_text())["runs"]
    assert (killed["run"], killed["kills"], killed["seconds"]) == ("killed", 1, 4.0)
    assert (undisturbed["run"], undisturbed["kills"]) == ("undisturbed", 0)
    assert killed["compared"] == {"shards": 6, "others": []}
    assert killed["deep_rows"] == 1
    assert (in_part["method"], in_part["compared"]["shards"]) == ("d-trak", 1)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"out.json", "out.md", ".out.json.written", ".out.md.written"}


def test_a_killed_run_of_other_bytes_is_refused(here, tmp_path):
    here.append("00000004.h5")
    with pytest.raises(
        MeasuringFailedError, match=r"shards 00000004\.h5 of a killed run have other"
    ):
        measure_kills(tiny(tmp_path, methods=("best",)))
    assert not (tmp_path / "out.md").exists()


def test_too_many_kills_are_refused():
    with pytest.raises(ConfigurationError, match="9 kills in 10 shards"):
        KillsConfig(images=20, rows_per_shard=2, kills=9)
