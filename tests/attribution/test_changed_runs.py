"""A finished run whose training images change: what follows from that is done, and no more."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from dtrak_stream import AttributeConfig, GramOptions, RemoveConfig, ScoreOptions, attribute, remove
from dtrak_stream.errors import FingerprintMismatchError
from dtrak_stream.scoring.scores_file import ScoresFile
from dtrak_stream.verification.options import VerifyConfig
from dtrak_stream.verification.run import verify
from tests.small_jobs import ALIKE, small_features


def config_of(run: Path, model: str, train: str, **changes: object) -> AttributeConfig:
    config = AttributeConfig(
        model=model,
        train=train,
        query="sklearn:digits[20:23]",
        run=run,
        score_options=ScoreOptions(damping="0.1"),
        features=small_features(),
        execution=ALIKE,
        quiet=True,
    )
    return dataclasses.replace(config, **changes)  # type: ignore[arg-type]


def scores_of(path: Path) -> np.ndarray:
    with ScoresFile(path) as scores:
        return np.stack([scores.scores(query) for query in range(scores.query_count)])


@pytest.mark.parametrize("form", ["primal", "dual"])
def test_scores_and_page_follow_images_that_came_and_went(model_folder, tmp_path, capsys, form):
    run, count, options = tmp_path / "run", 12, GramOptions(gram_form=form)
    attribute(config_of(run, model_folder, "sklearn:digits[:10]", gram_options=options))
    page = (run / "report/index.html").read_text()
    longer = config_of(
        run, model_folder, f"sklearn:digits[:{count}]", append=True, gram_options=options
    )
    with pytest.raises(FingerprintMismatchError, match="--append"):
        attribute(dataclasses.replace(longer, append=False))
    attribute(longer)
    gone = [3, 5]
    (tmp_path / "rows.txt").write_text("3\n5\n")
    remove(RemoveConfig((run / "train",), rows=tmp_path / "rows.txt"))
    result = attribute(longer)
    assert "brought up to date" in capsys.readouterr().err
    assert result.quarantined == 0
    assert (run / "report/index.html").read_text() != page
    verify(VerifyConfig(run, quiet=True))

    kept = [row for row in range(count) if row not in gone]
    (tmp_path / "kept.txt").write_text("".join(f"{row}\n" for row in kept))
    anew = config_of(tmp_path / "anew", model_folder, "sklearn:digits", gram_options=options)
    images = dataclasses.replace(anew.image_options, rows=tmp_path / "kept.txt")
    attribute(dataclasses.replace(anew, image_options=images))
    found, wanted = scores_of(run / "scores.h5"), scores_of(tmp_path / "anew/scores.h5")
    assert np.isnan(found[:, gone]).all()
    assert np.allclose(found[:, kept], wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
    page = (run / "report/index.html").read_text()
    assert f"out of {len(kept)}" in page


def test_a_finished_run_of_changed_stores_is_found_finished(model_folder, tmp_path, capsys):
    config = config_of(tmp_path / "run", model_folder, "sklearn:digits[:10]")
    attribute(config)
    longer = dataclasses.replace(config, train="sklearn:digits[:12]", append=True)
    attribute(longer)
    capsys.readouterr()
    attribute(longer)
    assert capsys.readouterr().err.count("already complete") == 5
