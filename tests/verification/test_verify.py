"""Verifying a run folder: a whole one passes, and every fault is found and named."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from dtrak_stream.cli.command_line import EXIT_DONE, EXIT_REFUSED
from dtrak_stream.errors import DtrakStreamError, UnavailableError
from dtrak_stream.store.quarantine import QuarantinedSample, append_quarantine, keep_quarantine
from dtrak_stream.store.shard import ShardRows, write_shard
from dtrak_stream.store.stored_shard import read_shard
from dtrak_stream.support.checkpoints import Checkpoints
from dtrak_stream.verification.options import VerifyConfig, VerifyResult
from dtrak_stream.verification.run import verify
from tests.crashing import contents
from tests.scoring.conftest import Attribution, attribution_of, whole_numbers
from tests.small_jobs import run_tool


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Attribution:
    """A run with a quarantined sample on each side."""
    train, query = whole_numbers(24, 64), whole_numbers(5, 64, 1)
    train[4], query[2] = np.nan, np.nan
    run = attribution_of(tmp_path_factory.mktemp("whole"), train, query)
    for store, row, name in ((run.train, 4, "train-4"), (run.query, 2, "query-2")):
        append_quarantine(store.layout.quarantine_path, [QuarantinedSample(row, name, "bad")])
    run.score(top_k=7, damping="0.1")
    return run


@pytest.fixture
def run(whole: Attribution, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(whole.folder, tmp_path / "run")
    return tmp_path / "run"


def checked(run: Path) -> VerifyResult:
    return verify(VerifyConfig(run, quiet=True))


def test_a_whole_run_passes_with_a_line_each_and_nothing_is_touched(run, capsys):
    before = contents(run)
    result = checked(run)
    assert (result.checked, result.unfinished) == (4, 0)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "ok  query: 5 rows of 64 in 1 shards, checksums hold, 1 quarantined",
        "ok  train: 24 rows of 64 in 4 shards, checksums hold, 1 quarantined",
        "ok  gram.h5: dual, 24 x 24, of train",
        "ok  scores.h5: d-trak, 5 queries x 24 training samples, all scores, checksums hold",
    ]
    assert contents(run) == before


def test_rankings_alone_pass(whole, tmp_path):
    run = Attribution(tmp_path / "run", whole.train, whole.query)
    shutil.copytree(whole.folder, run.folder)
    run.score(save_scores="no", top_k=30)
    assert checked(run.folder).checked == 4


def test_unfinished_work_is_named_and_no_fault(run, capsys):
    (run / "scores.h5.parts").mkdir()
    (run / "scores.h5.parts" / "part.safetensors").touch()
    (run / "train" / "shards" / "00000009.h5.partial").touch()
    assert checked(run).unfinished == 2
    assert "left by interrupted work" in capsys.readouterr().err


@pytest.mark.parametrize("result", ["gram.h5", "scores.h5"])
def test_damaged_numbers_of_unfinished_work_are_named_and_no_fault(run, capsys, result):
    kept = Checkpoints.beside(run / result, {"of": "this"})
    kept.save("whole", total=np.arange(4.0))
    kept.save("part", total=np.arange(4.0))
    (path,) = kept.folder.glob("part.*")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert checked(run).unfinished == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("--")]
    assert line.startswith(f"--  {result}.parts: left by interrupted work")
    assert line.endswith(f"computes again what is damaged: {path.name}")


def shard(run: Path, number: int = 1) -> Path:
    return run / "train" / "shards" / f"{number:08d}.h5"


def rewritten(run: Path, change: Callable[[ShardRows], ShardRows]) -> None:
    """Write a shard anew, with a checksum that holds."""
    fingerprint = json.loads((run / "train" / "store.json").read_text())["fingerprint_hash"]
    rows = read_shard(shard(run), fingerprint)
    write_shard(shard(run), change(rows), fingerprint)


def flip_bit(path: Path) -> None:
    """Change one bit of the first feature."""
    with h5py.File(path) as file:
        offset = file["features"].id.get_offset()
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def edited(path: Path, change: Callable[[h5py.File], object]) -> None:
    with h5py.File(path, "r+") as file:
        change(file)


def put(file: h5py.File, name: str, place: object, value: object) -> None:
    file[name][place] = value


def edit_plan(run: Path) -> None:
    path = run / "train" / "store.json"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))


def shorter(rows: ShardRows) -> ShardRows:
    return ShardRows(rows.features[:3], rows.scale[:3], rows.sample_id[:3], rows.norm[:3])


def with_nan(rows: ShardRows) -> ShardRows:
    features = np.array(rows.features)
    features[0, 0] = np.nan
    return ShardRows(features, rows.scale, rows.sample_id, rows.norm)


def raise_unranked(file: h5py.File) -> None:
    """Give a training sample in neither list of query 1 a score above all."""
    ranked = {*file["top_index"][1].tolist(), *file["bottom_index"][1].tolist(), 4}
    file["scores"][1, min(set(range(24)) - ranked)] = 1e9


def raise_a_little(file: h5py.File) -> None:
    """Give a training sample in neither list of query 1 a score that it could have."""
    ranked = {*file["top_index"][1].tolist(), *file["bottom_index"][1].tolist(), 4}
    place = 1, min(set(range(24)) - ranked)
    file["scores"][place] = np.nextafter(file["scores"][place], np.float32(np.inf))


def swap(file: h5py.File) -> None:
    for name in ("top_index", "top_score"):
        file[name][0, :2] = file[name][0, :2][::-1]


def flip_last(path: Path, text: bytes) -> None:
    """Flip a bit where a text stands for the last time."""
    content = bytearray(path.read_bytes())
    content[content.rindex(text)] ^= 1
    path.write_bytes(content)


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a lost shard": (lambda run: shard(run).unlink(), r"train: 1 of 4 shards are missing; run"),
    "a flipped bit": (lambda run: flip_bit(shard(run)), r"00000001\.h5: contents do not match"),
    "a cut shard": (lambda run: shard(run).write_bytes(b"x"), r"00000001\.h5: truncated"),
    "a short shard": (lambda run: rewritten(run, shorter), r"holds \(3, 64\), the plan wants"),
    "a NaN": (lambda run: rewritten(run, with_nan), "holds NaN"),
    "another's shard": (
        lambda run: shutil.copy(run / "query/shards/00000000.h5", shard(run)),
        "belongs to another run",
    ),
    "an edited plan": (edit_plan, r"store\.json: its fingerprint does not have the hash"),
    "a lost ledger": (
        lambda run: (run / "train" / "quarantine.jsonl").unlink(),
        "row 4 is not quarantined, and quarantined as train-4 in the shards",
    ),
    "a ledger of another": (
        lambda run: keep_quarantine(
            run / "query" / "quarantine.jsonl", [QuarantinedSample(1, "query-1", "bad")]
        ),
        "row 1 is quarantined as query-1, and not quarantined in the shards",
    ),
    "a damaged ledger": (
        lambda run: (run / "train" / "quarantine.jsonl").write_text('{"rox": 4}\n3\n' + "[" * 9999),
        "row 4 is not quarantined, and quarantined as train-4 in the shards",
    ),
    "damaged attributes of scores": (
        lambda run: flip_last(run / "scores.h5", b"damping"),
        r"scores\.h5: (parts of it cannot be read|cannot be read as HDF5)",
    ),
    "no joined view": (lambda run: (run / "train/features.h5").unlink(), r"features\.h5: is miss"),
    "another joined view": (
        lambda run: shutil.copy(run / "query/features.h5", run / "train/features.h5"),
        "shows another store",
    ),
    "a cut Gram matrix": (lambda run: (run / "gram.h5").write_bytes(b"x"), "cannot be read"),
    "a Gram matrix that is none": (
        lambda run: edited(run / "gram.h5", lambda file: put(file, "gram", (0, 1), 1e9)),
        r"gram\.h5: is not symmetric",
    ),
    "a Gram matrix with NaN": (
        lambda run: edited(run / "gram.h5", lambda file: put(file, "gram", (0, 1), np.nan)),
        "holds NaN",
    ),
    "a number of a Gram matrix that is a little other": (
        lambda run: edited(run / "gram.h5", lambda file: put(file, "gram", (2, 2), 1000.5)),
        r"gram\.h5: its numbers do not match its checksum",
    ),
    "a Gram matrix of another form": (
        lambda run: edited(run / "gram.h5", lambda file: file.attrs.modify("form", "primal")),
        "primal wants",
    ),
    "a Gram matrix of another": (
        lambda run: edited(run / "gram.h5", lambda file: file.attrs.modify("fingerprint", "x")),
        "Gram matrix: fingerprint differs: stored 'x'",
    ),
    "scores of another": (
        lambda run: edited(
            run / "scores.h5", lambda file: file.attrs.modify("train_fingerprint", "x")
        ),
        "train_fingerprint differs: stored 'x'",
    ),
    "scores of other samples": (
        lambda run: edited(run / "scores.h5", lambda file: put(file, "train_id", 3, b"x")),
        "train_id differs",
    ),
    "scores without method": (
        lambda run: edited(run / "scores.h5", lambda file: file.attrs.pop("method")),
        "not a scores file: it has no method",
    ),
    "a changed score": (
        lambda run: edited(run / "scores.h5", raise_unranked),
        "query 1 has a score above the top",
    ),
    "a ranking that is not the scores'": (
        lambda run: edited(run / "scores.h5", lambda file: put(file, "top_score", (1, 0), 1e9)),
        "query 1 has a ranking that contradicts its scores",
    ),
    "a ranking out of order": (
        lambda run: edited(run / "scores.h5", swap),
        "query 0 has a ranking that is out of order",
    ),
    "a score of a quarantined sample": (
        lambda run: edited(run / "scores.h5", lambda file: put(file, "scores", (0, 4), 0.0)),
        "a score though it is quarantined for training sample 4",
    ),
    "a lost score": (
        lambda run: edited(run / "scores.h5", lambda file: put(file, "scores", (0, 9), np.nan)),
        "no score for training sample 9",
    ),
    "a score that is a little other": (
        lambda run: edited(run / "scores.h5", raise_a_little),
        r"scores\.h5: scores: not what its checksum says",
    ),
    "a method of another name": (
        lambda run: edited(run / "scores.h5", lambda file: file.attrs.modify("method", "trak")),
        r"scores\.h5: its attributes: not what its checksum says",
    ),
    "a short list": (
        lambda run: edited(run / "scores.h5", lambda file: put(file, "bottom_index", (0, 6), -1)),
        "has lists of 7 and 6, not 7",
    ),
    "a quarantined sample in a list": (
        lambda run: edited(run / "scores.h5", lambda file: put(file, "top_index", (0, 6), 4)),
        "ranks a quarantined training sample",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_and_named_with_what_to_do(run, fault):
    break_it, message = FAULTS[fault]
    break_it(run)
    with pytest.raises(DtrakStreamError, match=message) as refusal:
        checked(run)
    assert len(refusal.value.remedy) > 10


def test_every_fault_is_told_and_what_was_made_of_a_faulty_store_is_left_out(run, capsys):
    flip_bit(shard(run, 0))
    flip_bit(shard(run, 2))
    (run / "query" / "features.h5").unlink()
    (run / "other.h5").write_bytes(b"x")
    with pytest.raises(DtrakStreamError) as refusal:
        checked(run)
    assert "3 of its parts have a fault: query, train, other.h5" in str(refusal.value)
    lines = capsys.readouterr().err.splitlines()
    assert [line[:3] for line in lines] == ["BAD", "BAD", "BAD", "-- ", "-- "]
    assert "features.h5: is missing" in lines[0]
    assert "2 of 4 shards have a fault: 00000000.h5 contents" in lines[1]
    assert "00000002.h5 contents" in lines[1]
    assert "other.h5: cannot be read" in lines[2]
    assert lines[3] == "--  gram.h5: made of train, which has a fault; not checked"
    assert lines[4].startswith("--  scores.h5: made of ")


def test_nothing_is_called_foreign_while_a_plan_cannot_be_read(run, capsys):
    (run / "train" / "store.json").write_text("{")
    with pytest.raises(DtrakStreamError, match="not readable"):
        checked(run)
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[2] for line in lines if line.startswith("--")] == [
        " made of no whole store, perhaps of train; not checked"
    ] * 2


def test_what_was_made_of_whole_stores_is_checked_beside_a_faulty_one(run, capsys):
    (run / "query" / "features.h5").unlink()
    with pytest.raises(DtrakStreamError, match="is missing"):
        checked(run)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines[1:]] == [
        "ok  train",
        "ok  gram.h5",
        "--  scores.h5",
    ]


def test_a_locked_file_is_told_as_that_and_all_others_are_checked(run, capsys):
    with (run / "gram.h5").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(UnavailableError, match=r"gram\.h5: is locked"):
            checked(run)
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("ok")]
    assert [line.partition(":")[0] for line in told] == ["ok  query", "ok  train", "ok  scores.h5"]


def test_scores_that_name_other_images_than_their_store_are_a_fault(run):
    edited(run / "scores.h5", lambda file: file.attrs.modify("query_images", "x"))
    with pytest.raises(DtrakStreamError, match="query_images differs: stored 'x'"):
        checked(run)


def test_the_tool_says_so_with_its_exit_code(run, capsys):
    code, out, _ = run_tool("verify", ["--run", str(run), "--quiet"], capsys)
    assert (code, out) == (EXIT_DONE, f"{run}\n")
    flip_bit(shard(run))
    code, out, errors = run_tool("verify", ["--run", str(run), "--quiet"], capsys)
    assert (code, out) == (EXIT_REFUSED, "")
    assert "00000001.h5" in errors.splitlines()[-1]


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_a_folder_with_nothing_to_check_is_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DtrakStreamError, match=r"no such folder|holds no store"):
        checked(tmp_path / name)
