"""Stamps: whatever is done to a file shows, and nothing else does."""

from __future__ import annotations

import os
import time
import tracemalloc

import pytest

from dtrak_stream.support import stamps
from dtrak_stream.support.stamps import Stamp, Stamping, stamp_files, stamp_package


def tree(folder):
    stamping = Stamping()
    stamping.tree(folder, lambda entry: not entry.name.startswith("."))
    return stamping.stamp()


@pytest.fixture
def folder(tmp_path):
    for name in ("a/0.png", "a/1.png", "b/0.png", "2.png"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path / "images"


def same_size_and_time(path):
    """Other bytes, and the old time of modification put back."""
    status = path.stat()
    path.write_bytes(bytes(reversed(path.read_bytes())))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


CHANGES = {
    "other bytes of the same size and time": same_size_and_time,
    "touched": lambda path: os.utime(path),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"!"),
    "replaced by a copy": lambda path: (
        path.with_name("copy").write_bytes(path.read_bytes()),
        path.with_name("copy").replace(path),
    ),
    "renamed": lambda path: path.rename(path.with_name("3.png")),
    "removed": lambda path: path.unlink(),
    "another beside it": lambda path: path.with_name("4.png").write_bytes(b""),
    "other rights": lambda path: path.chmod(0o600),
}


@pytest.mark.parametrize("name", ["a/1.png", "2.png"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whatever_is_done_to_a_file_shows(folder, name, change):
    before = tree(folder)
    assert before.settle()
    change(folder / name)
    assert tree(folder) != before


def test_reading_does_not_show(folder):
    before = tree(folder)
    (folder / "2.png").read_bytes()
    list(folder.rglob("*"))
    assert tree(folder) == before


def test_files_are_counted(folder):
    (folder / ".hidden").write_bytes(b"not wanted")
    stamp = tree(folder)
    assert (stamp.files, stamp.size) == (4, len("a/0.pnga/1.pngb/0.png2.png"))


def test_two_files_that_change_places_show(folder):
    before = tree(folder)
    (folder / "a").rename(folder / "c")
    (folder / "b").rename(folder / "a")
    (folder / "c").rename(folder / "b")
    assert tree(folder) != before


def test_the_target_of_a_link_shows(folder, tmp_path):
    target = tmp_path / "target.png"
    (folder / "5.png").symlink_to(target)
    missing = tree(folder)
    target.write_bytes(b"now there")
    there = tree(folder)
    assert there.settle()
    target.write_bytes(b"NOW THERE")
    assert len({missing, there, tree(folder)}) == 3


def test_a_folder_that_links_back_into_itself_has_no_stamp(folder):
    (folder / "a" / "loop").symlink_to(folder)
    with pytest.raises(OSError, match="links to a folder it lies in"):
        tree(folder)


def test_the_stamp_of_the_package_is_of_its_files_that_end_so(tmp_path, monkeypatch):
    monkeypatch.setattr(stamps, "_PACKAGE", tmp_path)
    names = {"a.py": True, "room/b.py": True, "room/c.j2": False, "_cache/d.py": False}
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    def stamped():
        stamping = Stamping()
        stamp_package(stamping, ".py")
        return stamping.stamp()

    assert stamped().files == 2
    for name, counts in names.items():
        before = stamped()
        (tmp_path / name).write_text("changed")
        assert (stamped() != before) == counts


def test_a_missing_file_has_no_stamp(folder):
    assert stamp_files([folder / "2.png"]) is not None
    assert stamp_files([folder / "2.png", folder / "9.png"]) is None


def test_a_stamp_waits_for_the_tick_of_a_change_to_pass(folder, monkeypatch):
    monkeypatch.setattr(stamps, "_TICK", 200_000_000)
    (folder / "2.png").touch()
    stamp = tree(folder)
    assert stamp.settle()
    assert time.time_ns() >= stamp.newest + 200_000_000


def test_a_file_changed_in_the_future_is_not_waited_for():
    assert not Stamp(1, 1, time.time_ns() + 10**12, "0").settle()


def test_a_stamp_comes_back_from_its_record(folder):
    assert Stamp.from_record(tree(folder).record()) == tree(folder)
    for record in (None, 7, {}, {"files": 1}):
        assert Stamp.from_record(record) is None


def test_memory_does_not_grow_with_the_number_of_files(tmp_path):
    def peak(files):
        folder = tmp_path / str(files)
        folder.mkdir()
        for number in range(files):
            (folder / f"{number}.png").touch()
        tracemalloc.start()
        tree(folder)
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    peak(10)
    assert peak(3000) < peak(30) + 30_000


def test_what_another_stamp_is_of_counts_as_if_it_were_added_here(folder):
    first, second, both = Stamping(), Stamping(), Stamping()
    for stamping in (first, both):
        stamping.file(folder / "2.png")
    for stamping in (second, both):
        stamping.tree(folder / "a", lambda _: True)
    first.stamped(second.stamp())
    assert first.stamp() == both.stamp()
