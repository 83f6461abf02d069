"""Images that cannot be used have no scores and change no others."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dtrak_stream
from dtrak_stream.cli.command_line import (
    EXIT_QUARANTINED,
)
from dtrak_stream.gram.file import Gram
from tests.attribution.jobs import (
    TRAIN,
    datasets,
    job,
)
from tests.small_jobs import (
    flags,
    run_tool,
    spoil,
)


@pytest.fixture(scope="module")
def spoilt(model_folder, sources, tmp_path_factory):
    """A run with two corrupt training images and a corrupt query, and one without those three."""
    root = tmp_path_factory.mktemp("spoilt")
    bad = tuple(Path(shutil.copytree(source, root / f"bad-{source.name}")) for source in sources)
    good = tuple(Path(shutil.copytree(source, root / f"good-{source.name}")) for source in sources)
    for folder, name in ((0, "003.png"), (0, "009.png"), (1, "001.png")):
        spoil(bad[folder] / name)
        (good[folder] / name).unlink()
    options: dict[str, Any] = {
        "gram_form": "primal",
        "scores": {"top_k": TRAIN},
        "dtype": "float32",
    }
    configs = [
        job(model_folder, (bad[0], bad[1]), root / "bad", **options),
        job(model_folder, (good[0], good[1]), root / "good", **options),
    ]
    results = [dtrak_stream.attribute(config) for config in configs]
    assert [result.quarantined for result in results] == [3, 0]
    return configs[0], configs[1]


def test_quarantined_images_give_exit_code_3(spoilt, capsys):
    code, out, errors = run_tool("attribute", flags(spoilt[0]), capsys)
    assert (code, out.splitlines()[-1]) == (
        EXIT_QUARANTINED,
        str(spoilt[0].run / "report" / "index.html"),
    )
    assert f"2 samples quarantined, see {spoilt[0].run}/train/quarantine.jsonl" in errors


def test_quarantined_images_are_absent_from_the_gram_matrix(spoilt):
    bad, good = (Gram.open(config.run / "gram.h5").matrix() for config in spoilt)
    assert np.allclose(bad, good, rtol=1e-5, atol=1e-6 * np.abs(good).max())


def test_quarantined_images_have_no_score_and_change_no_other(spoilt):
    bad, good = (datasets(config.run / "scores.h5") for config in spoilt)
    kept_train = [row for row in range(TRAIN) if row not in (3, 9)]
    assert np.isnan(bad["scores"][:, [3, 9]]).all()
    assert np.isnan(bad["scores"][1]).all()
    kept = bad["scores"][np.ix_([0, 2, 3], kept_train)]
    assert np.allclose(kept, good["scores"], rtol=1e-3, atol=1e-5 * np.abs(good["scores"]).max())


def test_quarantined_images_are_never_listed(spoilt):
    arrays = datasets(spoilt[0].run / "scores.h5")
    for end in ("top", "bottom"):
        index, scores = arrays[f"{end}_index"], arrays[f"{end}_score"]
        assert (index[1] == -1).all()
        for query in (0, 2, 3):
            assert set(index[query]) == {-1, *range(TRAIN)} - {3, 9}
        assert np.array_equal(np.isnan(scores), index == -1)
