"""Scores of before samples were removed are refused by whatever would show them."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from dtrak_stream.errors import InputError
from dtrak_stream.exchange.exporting import export
from dtrak_stream.exchange.options import ExportConfig
from dtrak_stream.scoring.options import ScoreConfig, ScoreOptions
from dtrak_stream.scoring.removed_since import refuse_removed_since
from dtrak_stream.scoring.run import score
from dtrak_stream.scoring.scores_file import ScoresFile
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.removal import remove
from dtrak_stream.store.removal_options import RemoveConfig
from tests.conftest import append_to, store_of

FEATURES = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)


@pytest.fixture
def run(tmp_path) -> Path:
    """A folder of two models' stores, and of scores in a folder of their own."""
    run: Path = tmp_path / "run"
    for name, rows in (("train", FEATURES[:9]), ("query", FEATURES[9:])):
        for model in (0, 1):
            store_of(run / f"models/{model}/{name}", rows, images=name)
    scored(run)
    return run


def scored(run: Path) -> None:
    score(
        ScoreConfig(
            tuple(run / f"models/{model}/train" for model in (0, 1)),
            tuple(run / f"models/{model}/query" for model in (0, 1)),
            out=run / "scored/scores.h5",
            options=ScoreOptions(method="gradient-dot", save_scores="yes"),
            quiet=True,
        )
    )


def take_out(store: Path, row: int) -> None:
    listed = store.parent / "rows.txt"
    listed.write_text(f"{row}\n")
    remove(RemoveConfig((store,), rows=listed))


def look_up(run: Path) -> None:
    with ScoresFile(run / "scored/scores.h5") as scores:
        refuse_removed_since(scores)


@pytest.mark.parametrize("changed", ["models/0/train", "models/1/train", "models/1/query"])
def test_a_sample_that_was_removed_is_in_no_export_of_earlier_scores(run, changed, capsys):
    look_up(run)
    take_out(run / changed, 1)
    exported = run / "scores.npy"
    with pytest.raises(InputError, match=f"1 samples .* removed from .*{changed}.*score again"):
        export(ExportConfig(exported, scores=run / "scored/scores.h5", quiet=True))
    assert not exported.exists()
    scored(run)
    assert export(ExportConfig(exported, scores=run / "scored/scores.h5", quiet=True))
    assert "note:" not in capsys.readouterr().err


def test_a_run_that_was_moved_is_looked_up_where_it_is(run, tmp_path):
    take_out(run / "models/0/train", 1)
    moved = run.rename(tmp_path / "moved")
    with pytest.raises(InputError, match=r"removed from .*moved/models/0/train"):
        look_up(moved)


def test_samples_that_came_are_no_reason_to_refuse(run):
    append_to(FeatureStore.open(run / "models/0/train"), FEATURES[:2])
    look_up(run)
    take_out(run / "models/0/train", 10)  # not in the scores, but in the store since
    with pytest.raises(InputError):
        look_up(run)


def test_stores_that_are_gone_or_others_are_told(run, capsys):
    shutil.rmtree(run / "models/0/train")
    shutil.rmtree(run / "models/1/query")
    store_of(run / "models/1/query", FEATURES[9:], images="others")
    look_up(run)
    told = capsys.readouterr().err
    assert "could not be looked up" in told
    assert "models/0/train" in told
    assert "models/1/query" in told
    assert "models/1/train" not in told


def test_scores_that_do_not_tell_their_stores_are_looked_up_beside_those_of_a_run(run, capsys):
    shutil.move(run / "models/0/train", run / "train")
    with h5py.File(shutil.move(run / "scored/scores.h5", run / "scores.h5"), "a") as file:
        for side in ("train", "query"):
            file.attrs[f"{side}_fingerprint"] = file.attrs[f"{side}_fingerprint"].split(",")[0]
            del file.attrs[f"{side}_store"]
    with ScoresFile(run / "scores.h5") as scores:
        refuse_removed_since(scores)
        assert not capsys.readouterr().err.count("note:")  # whatever is not there
        take_out(run / "train", 1)
        with pytest.raises(InputError, match=r"removed from .*run/train"):
            refuse_removed_since(scores)
