"""Verifying scores of several models, for a list of dampings, with error bars and groups."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from dtrak_stream.errors import DtrakStreamError
from dtrak_stream.groups.options import GroupOptions
from dtrak_stream.scoring.options import ScoreConfig, ScoreOptions
from dtrak_stream.scoring.run import score
from dtrak_stream.scoring.scores_checksums import CHECKSUM, write_checksums
from dtrak_stream.scoring.scores_file import ScoresFile
from dtrak_stream.store.quarantine import QuarantinedSample, append_quarantine
from dtrak_stream.store.shard import write_shard
from dtrak_stream.store.stored_shard import read_shard
from dtrak_stream.verification.options import VerifyConfig, VerifyResult
from dtrak_stream.verification.run import verify
from tests.groups.conftest import write_groups
from tests.scoring.conftest import Attribution, attribution_of, whole_numbers, with_residuals
from tests.verification.test_verify import edited, put

LOST_TRAIN, LOST_QUERY = (4, 11), 2


def model_of(folder: Path, number: int, dtype: str) -> Attribution:
    """Features of one model; another training sample is quarantined in each."""
    train, query = whole_numbers(24, 64, number), whole_numbers(5, 64, 10 + number)
    row = LOST_TRAIN[number]
    train[row], query[LOST_QUERY] = np.nan, np.nan
    run = attribution_of(folder, train, query, dtype=dtype)
    for store, bad, name in ((run.train, row, "train"), (run.query, LOST_QUERY, "query")):
        lost = QuarantinedSample(bad, f"{name}-{bad}", "bad")
        append_quarantine(store.layout.quarantine_path, [lost])
    return run


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two models."""
    root = tmp_path_factory.mktemp("whole") / "run"
    models = [
        model_of(root / "models" / str(number), number, dtype)
        for number, dtype in enumerate(("float32", "float16"))
    ]
    labels = ["ab"[row % 2] for row in range(24)]
    options = ScoreOptions(damping="0.1,1", error_bars=True, top_k=7)
    score(
        ScoreConfig(
            train=tuple(model.train.layout.root for model in models),
            query=tuple(model.query.layout.root for model in models),
            gram=tuple(model.gram for model in models),
            out=root / "scores.h5",
            options=options,
            groups=GroupOptions(groups=write_groups(root.parent / "groups.csv", labels)),
            quiet=True,
        )
    )
    return root


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "run")
    return tmp_path / "run"


def checked(run: Path) -> VerifyResult:
    return verify(VerifyConfig(run, quiet=True))


def test_every_store_matrix_and_damping_of_several_models_is_checked(run, capsys):
    result = checked(run)
    assert (result.checked, result.unfinished) == (4 + 6 + 1, 0)
    lines = capsys.readouterr().err.splitlines()
    halves = [line for line in lines if "by halves, for error bars" in line]
    assert len(halves) == 4
    assert lines[-1] == (
        "ok  scores.h5: d-trak, 5 queries x 24 training samples, all scores, error bars, "
        "2 groups, 2 dampings, checksums hold"
    )


def test_a_list_of_dampings_is_read_damping_by_damping(whole):
    for number in (0, 1):
        with ScoresFile(whole / "scores.h5", number) as scores:
            assert (scores.top_k, scores.has_errors, scores.damping_count) == (7, True, 2)
            everything = scores.block(slice(None), slice(None))
            finite = np.isfinite(everything[0])
            assert np.array_equal(everything[0], scores.scores(0), equal_nan=True)
            assert np.flatnonzero(~finite).tolist() == sorted(LOST_TRAIN)
            assert np.isfinite(scores.errors(0)[finite]).all()
            assert (scores.ranked_errors("top", 0) >= 0).all()


def test_an_hdf5_file_of_another_kind_is_named(run, capsys):
    with h5py.File(run / "images.h5", "w") as file:
        file["images"] = np.zeros(3)
    checked(run)
    assert "images.h5: no store, Gram matrix or scores file" in capsys.readouterr().err


def test_scores_fitted_to_retrained_models_need_no_store(run, capsys):
    def fitted(file: h5py.File) -> None:
        for side in ("train", "query"):
            del file.attrs[f"{side}_fingerprint"]
        file.attrs["fitted_to_truth"] = "truth"
        write_checksums(file)

    edited(run / "scores.h5", fitted)
    shutil.rmtree(run / "models")
    assert checked(run).checked == 1
    edited(run / "scores.h5", lambda file: put(file, "damping_000/scores", (0, 0), np.nan))
    with pytest.raises(DtrakStreamError, match="has no score for training sample 0"):
        checked(run)


def data_sets(path: Path) -> dict[str, tuple[int, int]]:
    """Where the bytes of each data set lie: the first, and how many."""
    found = {}

    def note(name: str, member: object) -> None:
        if isinstance(member, h5py.Dataset):
            found[name] = member.id.get_offset(), member.nbytes

    with h5py.File(path) as file:
        file.visititems(note)
    return found


def test_a_flipped_bit_in_any_data_set_of_scores_is_found(run):
    path = run / "scores.h5"
    whole = path.read_bytes()
    for first, size in data_sets(path).values():
        content = bytearray(whole)
        content[first + size // 2] ^= 1
        path.write_bytes(content)
        with pytest.raises(DtrakStreamError, match=r"scores\.h5: "):
            checked(run)


def test_scores_of_older_versions_pass_and_are_said_to_have_no_checksums(run, capsys):
    names = data_sets(run / "scores.h5")

    def older(file: h5py.File) -> None:
        for member in (file, *map(file.get, names)):
            del member.attrs[CHECKSUM]

    edited(run / "scores.h5", older)
    assert checked(run).checked == 4 + 6 + 1
    assert "2 dampings, without checksums, as older versions wrote" in capsys.readouterr().err


def change(path: str, place: object, value: object) -> Callable[[Path], None]:
    """Return what puts a value into the scores file."""
    return lambda run: edited(run / "scores.h5", lambda file: put(file, path, place, value))


def swap_groups(run: Path) -> None:
    def swap(file: h5py.File) -> None:
        for name in ("top_group_index", "top_group_score"):
            rows = file["damping_001"][name]
            rows[0] = rows[0][::-1]

    edited(run / "scores.h5", swap)


def drop(name: str) -> Callable[[Path], None]:
    return lambda run: edited(run / "scores.h5", lambda file: file.__delitem__(name))


def rename_store(side: str, model: int) -> Callable[[Path], None]:
    """Return what makes one of the fingerprints of a side that of no store."""

    def rename(file: h5py.File) -> None:
        hashes = file.attrs[f"{side}_fingerprint"].split(",")
        hashes[model] = "x"
        file.attrs[f"{side}_fingerprint"] = ",".join(hashes)

    return lambda run: edited(run / "scores.h5", rename)


def forget_model(run: Path) -> None:
    def forget(file: h5py.File) -> None:
        file.attrs["query_fingerprint"] = file.attrs["query_fingerprint"].split(",")[0]

    edited(run / "scores.h5", forget)


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a store of another, of the second model": (
        rename_store("train", 1),
        "train_fingerprint differs: stored 'x'",
    ),
    "queries of another, of the second model": (
        rename_store("query", 1),
        "query_fingerprint differs: stored 'x'",
    ),
    "fewer models of queries": (forget_model, "names 2 training stores and 1 of queries"),
    "a lost model": (
        lambda run: shutil.rmtree(run / "models" / "1"),
        "train_fingerprint differs",
    ),
    "a sample that one model lacks": (
        change("damping_000/scores", (0, LOST_TRAIN[1]), 0.0),
        r"query 0 \(damping_000\) has a score though it is quarantined for training sample 11",
    ),
    "a lost score of the second damping": (
        change("damping_001/scores", (3, 0), np.nan),
        r"query 3 \(damping_001\) has no score for training sample 0",
    ),
    "a lost damping": (drop("damping_001"), "holds scores for 1 dampings"),
    "all dampings lost": (
        lambda run: (drop("damping_000")(run), drop("damping_001")(run)),
        "holds scores for 0 dampings",
    ),
    "a damping that lost its ranking": (drop("damping_001/top_index"), "it has no top_index"),
    "a lost error bar": (
        change("damping_001/score_error", (0, 0), np.nan),
        r"query 0 \(damping_001\) has the error bar nan for training sample 0",
    ),
    "an infinite error bar": (
        change("damping_000/score_error", (1, 3), np.inf),
        "has the error bar inf for training sample 3",
    ),
    "a negative error bar": (
        change("damping_000/score_error", (0, 5), -1.0),
        "has the error bar -1.0 for training sample 5",
    ),
    "a ranked error bar that is another's": (
        change("damping_000/bottom_score_error", (0, 2), 1e9),
        "has error bars that contradict its ranking",
    ),
    "a ranked score without one": (
        change("damping_000/top_score_error", (0, 0), np.nan),
        "has a ranked score without an error bar",
    ),
    "lost error bars": (drop("damping_000/score_error"), "it has no score_error"),
    "groups out of order": (
        swap_groups,
        r"query 0 \(damping_001\) has a ranking of groups that is out of order",
    ),
    "a group that is none": (
        change("damping_001/top_group_index", (0, 0), 9),
        "a ranking names a group outside",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_any_model_or_damping_is_found_and_named(run, fault):
    break_it, message = FAULTS[fault]
    break_it(run)
    with pytest.raises(DtrakStreamError, match=message) as refusal:
        checked(run)
    assert len(refusal.value.remedy) > 10


@pytest.mark.parametrize(
    ("residual", "message"),
    [
        (None, "has no residuals, against the plan"),
        (np.full(7, np.nan, np.float32), "holds a residual that is NaN"),
        (np.full(7, -1, np.float32), "negative"),
        (np.ones(6, np.float32), "of another length"),
    ],
)
def test_residuals_are_checked_where_the_plan_wants_them(make_store, residual, message):
    store = with_residuals(make_store("train", whole_numbers(14, 64)), np.ones(14))
    root, path = store.layout.root, store.layout.shard_path(1)
    (root / "features.h5").unlink()
    rows = read_shard(path, store.fingerprint.hash())
    features = np.array(rows.features)
    changed = {"features": features, "residual": residual}
    write_shard(path, type(rows)(**{**vars(rows), **changed}), store.fingerprint.hash())
    with pytest.raises(DtrakStreamError, match=message):
        checked(root)
