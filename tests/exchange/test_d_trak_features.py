"""Feature files as D-TRAK writes them: raw parts whose names say order, shape and function."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from dtrak_stream.errors import ConfigurationError, DtrakStreamError, InputError
from dtrak_stream.exchange.feature_names import feature_name, in_order
from dtrak_stream.store.reader import FeatureStore
from tests.exchange.conftest import features_in, ids_in, imported, random_features, saved

AS_NAMED = {"output_function": "square", "timesteps": "uniform:10"}


def named(split: int, columns: int, *, of: str = "ddpm-train", ending: str = "uniform") -> str:
    return f"{of}-keys-{split}-10-{columns}-mean-squared-l2-norm-{ending}.npy"


def parts_of(folder: Path, features: np.ndarray, rows: int) -> tuple[Path, ...]:
    """Write raw parts of `rows` rows; return them as a shell lists them, part 10 before part 2."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, start in enumerate(range(0, len(features), rows)):
        path = folder / named(split, features.shape[1])
        path.write_bytes(features[start : start + rows].astype("<f4").tobytes())
    return tuple(sorted(folder.iterdir()))


def index(path: Path, numbers: list[int]) -> Path:
    path.write_bytes(pickle.dumps(numbers))
    return path


def test_parts_become_one_store_in_the_order_of_their_numbers(tmp_path):
    features = random_features(35, 6)  # 12 parts, the last of 2 rows
    rows = np.random.default_rng(1).permutation(1000)[:35].tolist()
    parts = parts_of(tmp_path / "features-0", features, rows=3)
    assert parts[2].name == named(10, 6)
    imported(
        parts,
        tmp_path / "store",
        used_dim=4,
        scale="1/sqrt(k)",
        ids=index(tmp_path / "idx-train.pkl", rows),
        **AS_NAMED,
    )
    expected = (features[:, :4].astype(np.float64) / 2).astype(np.float32)
    assert np.array_equal(features_in(tmp_path / "store"), expected)
    assert ids_in(tmp_path / "store") == [str(row) for row in rows]
    assert "first 4 of 6 columns" in FeatureStore.open(tmp_path / "store").fingerprint.projector


def test_rows_of_several_parts_come_in_the_order_that_is_declared(tmp_path):
    features, order = random_features(7, 3), np.array([6, 0, 3, 2, 5])
    parts = parts_of(tmp_path / "features-0", features, rows=3)
    listed = saved(tmp_path / "order.npy", order)
    imported(parts, tmp_path / "store", row_order=listed, **AS_NAMED)
    assert np.array_equal(features_in(tmp_path / "store"), features[order])


def test_a_single_file_needs_no_declared_shape(tmp_path):
    features = random_features(5, 4)
    parts = parts_of(tmp_path / "features-0", features, rows=5)
    imported(parts, tmp_path / "store", **AS_NAMED)
    assert np.array_equal(features_in(tmp_path / "store"), features)


def test_files_of_other_names_are_joined_as_they_are_given(tmp_path):
    features = random_features(5, 4)
    (tmp_path / "b").write_bytes(features[:3].tobytes())
    (tmp_path / "a").write_bytes(features[3:].tobytes())
    paths = tmp_path / "b", tmp_path / "a"
    imported(paths, tmp_path / "store", array_shape="5x4", array_dtype="float32")
    assert np.array_equal(features_in(tmp_path / "store"), features)
    with pytest.raises(InputError, match=r"its shape is \(5, 4\), \(6, 4\) was declared"):
        imported(paths, tmp_path / "other", array_shape="6x4", array_dtype="float32")


def test_npy_files_are_joined_if_they_fit(tmp_path):
    features = random_features(5, 4)
    first, second = saved(tmp_path / "0.npy", features[:3]), saved(tmp_path / "1.npy", features[3:])
    imported((first, second), tmp_path / "store")
    assert np.array_equal(features_in(tmp_path / "store"), features)
    narrow = saved(tmp_path / "2.npy", features[:, :3])
    with pytest.raises(InputError, match=r"2\.npy: has 3 columns and 0\.npy 4"):
        imported((first, narrow), tmp_path / "other")
    wide = saved(tmp_path / "3.npy", features.astype(np.float64))
    with pytest.raises(InputError, match=r"holds float64 and 0\.npy float32"):
        imported((first, wide), tmp_path / "other")


def test_a_bad_row_is_named_with_its_own_file(tmp_path):
    features = random_features(7, 3)
    features[4] = 0
    parts = parts_of(tmp_path / "features-0", features, rows=3)
    with pytest.raises(InputError, match=r"train-keys-1-\S+: row 1 \(4\) is zero throughout"):
        imported(parts, tmp_path / "store", **AS_NAMED)


def test_a_part_that_is_missing_or_given_twice_is_refused(tmp_path):
    parts = parts_of(tmp_path / "features-0", random_features(9, 3), rows=3)
    with pytest.raises(InputError, match=r"of the parts 0 to 2, 1 are missing \(1\)"):
        in_order((parts[0], parts[2]))
    with pytest.raises(ConfigurationError, match="one twice"):
        in_order((parts[0], parts[0]))
    (tmp_path / "again").mkdir()
    copy = tmp_path / "again" / "features-0" / parts[0].name
    copy.parent.mkdir()
    copy.write_bytes(parts[0].read_bytes())
    with pytest.raises(InputError, match=r"of the parts 0 to 2, 1 are given twice \(0\)"):
        in_order((*parts, copy))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ("features-0/ddpm-train-keys-1-100-3-mean-squared-l2-norm-uniform.npy", "timesteps"),
        ("features-0/ddpm-train-keys-1-10-4-mean-squared-l2-norm-uniform.npy", "columns"),
        ("features-0/ddpm-train-keys-1-10-3-loss-uniform.npy", "function"),
        ("features-0/ddpm-train-keys-1-10-3-mean-squared-l2-norm-cumulative.npy", "strategy"),
        ("features-0/ddpm-val-keys-1-10-3-mean-squared-l2-norm-uniform.npy", "subject"),
        ("features-1/ddpm-train-keys-1-10-3-mean-squared-l2-norm-uniform.npy", "subject"),
    ],
)
def test_parts_of_other_features_are_refused(tmp_path, other, message):
    first = tmp_path / "features-0" / named(0, 3)
    with pytest.raises(InputError, match=f"is of other features than .*: {message} "):
        in_order((first, tmp_path / other))


def test_a_file_whose_name_tells_nothing_is_refused_among_those_that_tell(tmp_path):
    with pytest.raises(ConfigurationError, match="which rows it has is not known"):
        in_order((tmp_path / named(0, 3), tmp_path / "x.npy"))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ((3, 2, 3), r"train-keys-1-\S+: has 2 rows and ddpm-train-keys-0-\S+ 3"),
        ((3, 3, 4), r"train-keys-2-\S+: has 4 rows and ddpm-train-keys-0-\S+ 3"),
        ((3, 3, 0), r"train-keys-2-\S+: has 0 bytes, which is no number of rows of 5"),
    ],
)
def test_parts_that_are_cut_short_are_refused(tmp_path, rows, message):
    for split, count in enumerate(rows):
        (tmp_path / named(split, 5)).write_bytes(random_features(count, 5).tobytes())
    with pytest.raises(InputError, match=message):
        imported(tuple(sorted(tmp_path.glob("*.npy"))), tmp_path / "store", **AS_NAMED)


def test_a_size_that_does_not_fit_the_name_is_refused(tmp_path):
    path = tmp_path / named(0, 5)
    path.write_bytes(random_features(3, 4).tobytes())
    with pytest.raises(InputError, match="has 48 bytes, which is no number of rows of 5 float32"):
        imported(path, tmp_path / "store", **AS_NAMED)
    np.save(path, random_features(3, 4))
    with pytest.raises(InputError, match="has 4 columns, and 5 by its name"):
        imported(path, tmp_path / "store", **AS_NAMED)


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"output_function": "simple"}, "its name says mean-squared-l2-norm.*-function square"),
        ({"timesteps": "uniform:100"}, "K = 10, uniform; give --timesteps uniform:10"),
        ({"timesteps": "cumulative:10"}, "give --timesteps uniform:10"),
        ({"timesteps": "none"}, "give --timesteps uniform:10"),
        ({"array_dtype": "float64"}, "holds float32, float64 was declared"),
        ({"array_shape": "3x4"}, r"its shape is \(2, 4\)"),
    ],
)
def test_what_the_name_says_is_held_against_what_is_declared(tmp_path, declared, message):
    parts = parts_of(tmp_path / "features-0", random_features(2, 4), rows=2)
    with pytest.raises(DtrakStreamError, match=message):
        imported(parts, tmp_path / "store", **{**AS_NAMED, **declared})
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        (named(0, 3), tuple(range(0, 1000, 100))),
        (named(0, 3, ending="cumulative"), tuple(range(10))),
        ("sd-lora-gen-keys-0-15-3-loss-uniform.npy", tuple(range(0, 1000, 66))),
        ("ddpm-gen-sampling-troj-keys-0-50-3-loss-uniform.npy", None),
    ],
)
def test_timesteps_are_those_that_d_trak_takes(name, steps):
    found = feature_name(Path(name))
    assert found is not None
    assert found.steps(1000) == steps


@pytest.mark.parametrize(
    "name", ["x.npy", "a-keys-0-1-2-loss-random.npy", "a-keys-0-0-2-f-uniform"]
)
def test_other_names_say_nothing(name):
    assert feature_name(Path(name)) is None


def test_an_index_of_another_length_or_with_twins_names_nothing(tmp_path):
    parts = parts_of(tmp_path / "features-0", random_features(3, 4), rows=3)
    with pytest.raises(InputError, match="names 2 samples, the features are of 3"):
        imported(parts, tmp_path / "s", ids=index(tmp_path / "idx.pkl", [4, 5]), **AS_NAMED)
    with pytest.raises(InputError, match=r"1 ids are there more than once \(4\)"):
        imported(parts, tmp_path / "s", ids=index(tmp_path / "idx.pkl", [4, 5, 4]), **AS_NAMED)
