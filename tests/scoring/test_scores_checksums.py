"""Checksums of a scores file: over every data set, and the attributes; any flipped bit is found."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import xxhash

import dtrak_stream.scoring.scores_checksums as checksums_module
from dtrak_stream.errors import CorruptFileError
from dtrak_stream.scoring.scores_checksums import CHECKSUM, refuse_flipped
from dtrak_stream.scoring.scores_file import ScoresFile
from tests.scoring.conftest import Attribution, attribution_of, whole_numbers

NAMES = ("query_id", "train_id")
RANKINGS = ("top_index", "top_score", "bottom_index", "bottom_score")
ERRORS = ("score_error", "top_score_error", "bottom_score_error")


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Attribution:
    """Scores with error bars for a list of two lambdas."""
    folder = tmp_path_factory.mktemp("listed")
    run = attribution_of(folder, whole_numbers(24, 64), whole_numbers(5, 64, 1))
    run.score(damping="0.1,1", error_bars=True, top_k=6)
    return run


@pytest.fixture
def scores(listed: Attribution, tmp_path: Path) -> Path:
    """A copy of them."""
    path = tmp_path / "scores.h5"
    path.write_bytes(listed.out.read_bytes())
    return path


def data_sets(path: Path) -> dict[str, tuple[int, int]]:
    """Where the bytes of each data set lie: (first, number)."""
    found = {}

    def note(name: str, member: h5py.HLObject) -> None:
        if isinstance(member, h5py.Dataset):
            found[name] = member.id.get_offset(), member.nbytes

    with h5py.File(path) as file:
        file.visititems(note)
    return found


def flip(path: Path, offset: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1 << bit
    path.write_bytes(content)


def test_every_data_set_has_the_hash_of_its_bytes(listed):
    expected = {*NAMES}
    for number in (0, 1):
        expected |= {f"damping_00{number}/{name}" for name in ("scores", *RANKINGS, *ERRORS)}
    assert set(data_sets(listed.out)) == expected
    with h5py.File(listed.out) as file:
        for name in expected:
            values = file[name][:]
            digest = xxhash.xxh3_128(f"{values.dtype.str}{values.shape}".encode())
            digest.update(values.tobytes())
            assert file[name].attrs[CHECKSUM] == digest.hexdigest()
    assert refuse_flipped(listed.out)


@pytest.mark.parametrize("at_a_time", [1, 4, 8, 20, 96, 100, 480, 10_000])
def test_checksums_do_not_depend_on_how_much_is_read_at_a_time(listed, monkeypatch, at_a_time):
    monkeypatch.setattr(checksums_module, "_HASHED_BYTES", at_a_time)
    assert refuse_flipped(listed.out)


def test_a_flipped_bit_in_any_data_set_is_found_and_the_data_set_named(scores):
    whole = scores.read_bytes()
    for name, (first, size) in data_sets(scores).items():
        for offset, bit in ((first, 0), (first + size // 2, 5), (first + size - 1, 7)):
            flip(scores, offset, bit)
            with pytest.raises(CorruptFileError, match=rf"{name}: not what its checksum says"):
                refuse_flipped(scores)
            scores.write_bytes(whole)


@pytest.mark.parametrize("name", ["method", "output_function", "train_fingerprint"])
def test_a_flipped_bit_in_the_text_of_an_attribute_is_found(scores, name):
    """HDF5 has no checksum over texts."""
    with h5py.File(scores) as file:
        text = file.attrs[name].encode()
    flip(scores, scores.read_bytes().rindex(text))
    with pytest.raises(CorruptFileError, match="its attributes: not what its checksum says"):
        refuse_flipped(scores)


def test_a_changed_attribute_of_one_lambda_is_found(scores):
    with h5py.File(scores, "r+") as file:
        file["damping_001"].attrs["damping_absolute"] *= 1 + 1e-15
    with pytest.raises(CorruptFileError, match="its attributes"):
        refuse_flipped(scores)


@pytest.mark.parametrize("name", ["query_id", "damping_001/top_score"])
def test_a_part_that_alone_has_no_checksum_is_named(scores, name):
    with h5py.File(scores, "r+") as file:
        del file[name].attrs[CHECKSUM]
    with pytest.raises(CorruptFileError, match=f"{name}: without a checksum"):
        refuse_flipped(scores)


def test_attributes_that_alone_have_no_checksum_are_named(scores):
    with h5py.File(scores, "r+") as file:
        del file.attrs[CHECKSUM]
    with pytest.raises(CorruptFileError, match="its attributes: without a checksum"):
        refuse_flipped(scores)


def test_a_file_without_any_is_read_and_told_as_that(listed, scores):
    with h5py.File(scores, "r+") as file:
        del file.attrs[CHECKSUM]
        for name in data_sets(listed.out):
            del file[name].attrs[CHECKSUM]
    assert not refuse_flipped(scores)
    with ScoresFile(scores, 1) as one, ScoresFile(listed.out, 1) as other:
        assert one.attributes == other.attributes
        assert np.array_equal(one.scores(2), other.scores(2))


def test_a_checksum_is_no_fact_about_scores(listed):
    with ScoresFile(listed.out, 0) as scores:
        assert CHECKSUM not in scores.attributes
