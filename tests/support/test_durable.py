"""Durable files: whole under their final name, or not there."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from dtrak_stream.errors import DiskFullError
from dtrak_stream.support import durable
from dtrak_stream.support.writers import Writer
from tests.crashing import contents, finishes_before_step, halves_of_writes


def test_a_kill_at_any_step_leaves_the_old_file_or_the_new_one(tmp_path):
    path = tmp_path / "file"
    step = 0
    while True:
        path.write_bytes(b"old")
        finished = finishes_before_step(lambda: durable.write_bytes(path, b"new " * 100), step)
        assert path.read_bytes() in (b"old", b"new " * 100)
        if finished:
            break
        step += 1
    assert step == 3  # the file, its name, its folder
    assert path.read_bytes() == b"new " * 100


def test_a_kill_in_the_middle_of_a_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    work = partial(durable.write_bytes, path, b"new " * 2**18)
    assert not finishes_before_step(work, 0, halves_of_writes)
    (left,) = tmp_path.glob("*.partial")
    assert left.stat().st_size == 2 * 2**18
    assert path.read_bytes() == b"old"
    durable.remove_partials(tmp_path)
    assert contents(tmp_path) == {"file": b"old"}
    assert finishes_before_step(work, 1, halves_of_writes)
    assert path.read_bytes() == b"new " * 2**18


def test_an_error_leaves_nothing_behind(tmp_path):
    def fail_half_way() -> None:
        with durable.durable_path(tmp_path / "x") as partial:
            partial.write_bytes(b"half")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail_half_way()
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("from_hdf5", [False, True])
def test_no_room_is_explained(tmp_path, code, from_hdf5):
    text = f"Can't write data (file write failed: errno = {code}, error message = 'x')"
    error = OSError(text) if from_hdf5 else OSError(code, "no room")
    with (
        pytest.raises(DiskFullError, match=r"file: no room left.*free some space"),
        durable.durable_path(tmp_path / "file"),
    ):
        raise error
    assert contents(tmp_path) == {}


def test_other_errors_pass_as_they_are(tmp_path):
    with (
        pytest.raises(PermissionError),
        durable.durable_path(tmp_path / "file"),
    ):
        raise PermissionError(errno.EACCES, "no")


def test_a_real_write_that_finds_no_room_leaves_nothing(tmp_path):
    """The operating system refuses the write half way, as a full disk does."""
    script = (
        "import sys; from pathlib import Path\n"
        "from dtrak_stream.support.durable import write_bytes\n"
        "from dtrak_stream.errors import DiskFullError\n"
        "try: write_bytes(Path(sys.argv[1]), b'x' * 1_000_000)\n"
        "except DiskFullError as error: print(error)\n"
    )

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    answer = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "big")],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=limit,
    )
    assert "no room left to write this file" in answer.stdout
    assert contents(tmp_path) == {}


def test_partials_of_a_crash_are_removed(tmp_path):
    here = Writer.here()
    dead = Writer(here.host, here.process, here.start - 1)
    for name in ("a.h5", f"a.h5.0.{dead.spelling}", f"b.h5.17.{dead.spelling}"):
        (tmp_path / f"{name}.partial").write_bytes(b"torn")
    (tmp_path / "b.h5").write_bytes(b"whole")
    durable.remove_partials(tmp_path)
    assert contents(tmp_path) == {"b.h5": b"whole"}


def test_partials_of_writers_that_live_are_spared(tmp_path):
    with durable.durable_path(tmp_path / "x") as mine, durable.durable_path(tmp_path / "x") as also:
        for partial in (mine, also):
            partial.write_bytes(b"half")
        elsewhere = tmp_path / "x.0.elsewhere_0123abcd-1-2.partial"
        elsewhere.write_bytes(b"half")
        durable.remove_partials(tmp_path)
        assert mine != also
        assert len(contents(tmp_path)) == 3


def test_a_partial_of_another_host_that_stood_still_for_days_is_removed(tmp_path):
    elsewhere = tmp_path / "x.0.elsewhere_0123abcd-1-2.partial"
    elsewhere.write_bytes(b"half")
    days_ago = time.time() - 2 * 24 * 3600
    os.utime(elsewhere, (days_ago, days_ago))
    durable.remove_partials(tmp_path)
    assert contents(tmp_path) == {}


def synced(monkeypatch) -> dict[int, int]:
    """Return, by inode, how long each file was when it was last brought to disk; filled later."""
    sync, lengths = os.fsync, dict[int, int]()

    def noted(descriptor: int) -> None:
        sync(descriptor)
        found = os.fstat(descriptor)
        lengths[found.st_ino] = found.st_size

    monkeypatch.setattr(os, "fsync", noted)
    return lengths


def test_what_is_appended_is_on_disk_with_the_name_of_its_file(tmp_path, monkeypatch):
    path, lengths = tmp_path / "ledger", synced(monkeypatch)
    for content in (b"first\n", b"second\n"):
        lengths.clear()
        durable.append_bytes(path, content)
        assert lengths[path.stat().st_ino] == path.stat().st_size
        assert tmp_path.stat().st_ino in lengths
    assert path.read_bytes() == b"first\nsecond\n"


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    with durable.durable_path(tmp_path / "x") as first:
        first.write_bytes(b"first")
        durable.write_bytes(tmp_path / "x", b"second")
        assert (tmp_path / "x").read_bytes() == b"second"
    assert contents(tmp_path) == {"x": b"first"}


def test_folders_are_made(tmp_path):
    durable.write_json(tmp_path / "new" / "folder" / "x.json", {"b": 1, "a": [2]})
    assert Path(tmp_path / "new" / "folder" / "x.json").read_text().startswith('{\n  "a"')
