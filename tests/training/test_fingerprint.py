"""Of several commands that begin one folder at once, the first one has it."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from dtrak_stream.errors import FingerprintMismatchError
from dtrak_stream.generation.folder import ImageFolder
from dtrak_stream.training.fingerprint import begin_folder, read_fingerprint
from dtrak_stream.training.folder import TrainingFolder


def refused_of(begin: Callable[[int], None], count: int) -> list[int]:
    """Begin as often at once, and return which were refused."""
    refused, together = list[int](), threading.Barrier(count)

    def one(number: int) -> None:
        together.wait()
        try:
            begin(number)
        except FingerprintMismatchError:
            refused.append(number)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return refused


@pytest.mark.parametrize("kind", ["any", "training", "generation"])
def test_of_folders_begun_at_once_the_first_one_stays_and_others_are_refused(tmp_path, kind):
    def begin(number: int) -> None:
        wanted = {"seed": number}
        if kind == "any":
            begin_folder(tmp_path, wanted)
        elif kind == "training":
            TrainingFolder(tmp_path).claim(wanted)
        else:
            ImageFolder(tmp_path, float_images=False, trajectories=False).claim(wanted, 3)

    refused = refused_of(begin, 6)
    kept = read_fingerprint(tmp_path)
    assert kept is not None
    assert sorted([*refused, kept["seed"]]) == list(range(6))
    assert [path.name for path in tmp_path.iterdir()] == ["fingerprint.json"]


def test_of_the_same_command_at_once_nobody_is_refused(tmp_path):
    assert refused_of(lambda _: begin_folder(tmp_path, {"seed": 1}), 4) == []
