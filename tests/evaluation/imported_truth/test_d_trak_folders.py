"""D-TRAK's folders from features to an LDS, by the commands, against plain NumPy and SciPy."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from dtrak_stream.scoring.scores_file import ScoresFile
from tests.commands_here import run_command
from tests.d_trak_folders import USED, DTrakFolders, d_trak_folders

DAMPING = 40.0
DECLARED = (
    "--source sd --output-function square --timesteps uniform:10 --projector normal "
    f"--scale 1/sqrt(k) --image-shape 4x32x32 --used-dim {USED} --rows-per-shard 4 --quiet"
)


def ran(*words: object) -> str:
    told = run_command(*map(str, words))
    assert told.code == 0, told.stderr
    return told.stdout


def expected_scores(folders: DTrakFolders, query: str) -> np.ndarray:
    """tau = Phi_q (Phi^T Phi + lambda I)^-1 Phi^T of unscaled features: (Q, N)."""
    train = folders.features["train"][:, :USED].astype(np.float64)
    queries = folders.features[query][:, :USED].astype(np.float64)
    kernel = train.T @ train + DAMPING * np.eye(USED)
    return np.asarray(queries @ np.linalg.inv(kernel) @ train.T)


def expected_lds(folders: DTrakFolders, query: str) -> float:
    """The mean over queries of the rank correlation of minus summed scores and losses."""
    losses = folders.losses[query].astype(np.float64).mean(axis=(0, 1, 3))  # (M, Q)
    predicted = folders.masks @ -expected_scores(folders, query).T  # (M, Q)
    pairs = zip(predicted.T, losses.T, strict=True)
    return float(np.mean([stats.spearmanr(*pair).statistic for pair in pairs]))


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> DTrakFolders:
    return d_trak_folders(tmp_path_factory.mktemp("ArtBench2"), model="sd-lora")


@pytest.fixture(scope="module")
def scored(folders: DTrakFolders) -> DTrakFolders:
    """Features of all images imported, scored, and the truth imported."""
    run = folders.root / "run"
    for name in ("train", "val", "gen"):
        index = folders.indices / f"idx-{name}.pkl"
        named = ["--ids", index] if index.exists() else []
        files = folders.feature_files(name)
        words = ["--array", *files, "--store", run / name, *named, *DECLARED.split()]
        ran("import-features", *words)
    ran("gram", "--store", run / "train", "--out", run / "gram.h5", "--quiet")
    for name in ("val", "gen"):
        ran(
            *("score", "--train", run / "train", "--query", run / name),
            *("--gram", run / "gram.h5", "--out", run / f"{name}.h5", "--method", "d-trak"),
            *("--damping", f"abs:{DAMPING / USED}", "--save-scores", "yes", "--quiet"),
        )
    val = folders.indices / "idx-val.pkl"
    ran(
        *("import-truth", "--out", run / "truth.npz", "--quiet"),
        *("--index", folders.indices / "idx-train.pkl", "--models", folders.models),
        *("--subset-index", folders.indices / "lds-val", "--query", f"val={val}", "gen"),
    )
    return folders


@pytest.mark.parametrize("query", ["val", "gen"])
def test_scores_are_those_of_the_unscaled_features(scored, query):
    with ScoresFile(scored.root / "run" / f"{query}.h5") as scores:
        found = scores.block(slice(0, scores.query_count), slice(0, scores.train_count))
        assert scores.train_id(3) == str(scored.rows["train"][3])
    np.testing.assert_allclose(found, expected_scores(scored, query), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("query", ["val", "gen"])
def test_the_lds_is_that_of_the_retrained_models(scored, query, tmp_path):
    run = scored.root / "run"
    told = ran(
        *("lds", "--scores", run / f"{query}.h5", "--truth", run / "truth.npz"),
        *("--loss-key", query, "--json", tmp_path / "lds.json", "--quiet"),
    )
    found = json.loads((tmp_path / "lds.json").read_text())
    expected = expected_lds(scored, query)
    assert expected > 0.5
    assert found["lds"] == pytest.approx(expected, abs=1e-9)
    assert found["noise_ceiling"]["seeds"] == 3
    assert told.splitlines()[-1].startswith(f"LDS {100 * expected:.2f} +- ")


def test_scores_of_images_under_other_names_are_refused(scored, tmp_path):
    """Queries of `gen` are numbered from 0 and those of `val` are rows of the data set."""
    run = scored.root / "run"
    told = run_command("lds", "--scores", str(run / "gen.h5"), "--truth", str(run / "truth.npz"))
    assert told.code == 2
    assert "queries" in told.stderr
