"""A few hundred damaged inputs of every kind; `bash tools/fuzz.sh` tries thousands."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.fuzzing import Target, failures, quiet, targets

NAMES = (
    *("store", "Gram matrix", "scores", "verify", "npy", "npz", "HDF5", "tar", "zip", "list"),
    *("metadata", "PNG", "configuration"),
)
INPUTS = range(20)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, Target]:
    """All that is read."""
    with quiet():
        return targets(tmp_path_factory.mktemp("fuzzing"))


def test_every_kind_of_input_is_tried(made):
    assert tuple(made) == NAMES


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("name", NAMES)
def test_damaged_inputs_are_refused_in_words_of_ours(made, name):
    with quiet():
        made[name].read()
    counts: Counter[str] = Counter()
    assert failures(made[name], INPUTS, counts) == []
    assert counts.total() == len(INPUTS)


def test_what_is_not_refused_in_words_of_ours_is_told(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")

    def read() -> None:
        if path.read_bytes() != b"0123456789":
            raise ZeroDivisionError("a bug")

    told = failures(Target((path,), read), INPUTS, Counter())
    assert len(told) > 10
    assert "file: ZeroDivisionError: a bug" in told[0]
    assert path.read_bytes() == b"0123456789"
