"""Rows of a store are computed again from model and images, and found to be what was stored."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dtrak_stream.cli.command_line import EXIT_DONE, EXIT_REFUSED
from dtrak_stream.errors import (
    ConfigurationError,
    CorruptFileError,
    DtrakStreamError,
    FingerprintMismatchError,
)
from dtrak_stream.features.names import is_of_images
from dtrak_stream.featurizing.options import ExecutionOptions, FeaturizeConfig
from dtrak_stream.featurizing.run import featurize
from dtrak_stream.generation.configuration import GenerationConfig
from dtrak_stream.generation.run import generate
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.store.shard import write_shard
from dtrak_stream.support.configuration import parse
from dtrak_stream.verification.options import USUAL_ROWS, VerifyConfig
from dtrak_stream.verification.recomputed import sampled_rows
from dtrak_stream.verification.run import verify
from tests.features.conftest import save_clip
from tests.small_jobs import ALIKE, random_pixels, run_tool, save_images, small_job, spoil

COUNT = 7


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return save_images(tmp_path / "images", random_pixels(COUNT))


def featurized(run: Path, model: str, images: object, **features: Any) -> Path:
    return featurize(job_of(run, model, images, **features)).path


def job_of(run: Path, model: str, images: object, **features: Any) -> FeaturizeConfig:
    is_gradient = not is_of_images(features.get("output_function"))
    execution = ALIKE if is_gradient else ExecutionOptions()
    return small_job(model, images, run / "train", execution=execution, **features)


def checked(run: Path, **options: Any) -> None:
    verify(VerifyConfig(run, quiet=True, **{"deep": 3, **options}))


def change_row(store: Path, row: int, factor: float) -> None:
    """Multiply a stored row, under a checksum that holds."""
    opened = FeatureStore.open(store)
    shard = row // opened.fingerprint.rows_per_shard
    rows, place = opened.shard(shard), row - opened.layout.shard_rows(shard).start
    features = np.array(rows.features)
    features[place] *= factor
    changed = dataclasses.replace(rows, features=features)
    path = opened.layout.shard_path(shard)
    path.unlink()
    write_shard(path, changed, opened.fingerprint.hash())


@pytest.mark.parametrize(
    "features",
    [
        {"output_function": "square"},
        {"output_function": "square", "dtype": "float32", "timestep_weights": "unit-gradient"},
        {"output_function": "probe(2)"},
        {"output_function": "pixels", "size": 8},
        {"output_function": "rff(pixels)"},
        {"output_function": "rff(pixels)", "dtype": "int8"},
        {"output_function": "pixels", "dtype": "int8"},
    ],
    ids=lambda features: " ".join(map(str, features.values())),
)
def test_rows_of_every_kind_are_what_they_were(model_folder, images, tmp_path, features, capsys):
    featurized(tmp_path / "run", model_folder, images, **features)
    checked(tmp_path / "run")
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("ok")]
    stores = 2 if features["output_function"] == "probe(2)" else 1
    assert len(told) == stores
    assert all(
        "0 quarantined, 3 rows computed again, relative error up to" in line for line in told
    )


def test_rows_of_image_features_of_a_network_are_what_they_were(images, tmp_path):
    folder = str(save_clip(tmp_path / "clip"))
    featurized(tmp_path / "run", "none", images, output_function="clip", clip=folder)
    checked(tmp_path / "run")


def test_rows_along_paths_are_what_they_were(model_folder, tmp_path):
    made, run = tmp_path / "made", tmp_path / "run"
    options: dict[str, Any] = {"count": 3, "steps": 3, "batch_size": 3, "device": "cpu"}
    generate(
        GenerationConfig(model=model_folder, out=made, save_trajectory=True, **options),
        visible=False,
    )
    job = small_job(model_folder, made, run / "query", output_function="trajectory(averaged)")
    featurize(dataclasses.replace(job, trajectory=made))
    checked(run)
    shutil.move(made, tmp_path / "moved")
    with pytest.raises(DtrakStreamError, match="made"):
        checked(run)
    checked(run, query=str(tmp_path / "moved"), trajectory=tmp_path / "moved")


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_changed_row_is_named_with_its_error(images, tmp_path, dtype):
    run = tmp_path / "run"
    store = featurized(run, "none", images, output_function="pixels", dtype=dtype)
    change_row(store, COUNT - 1, 1 + 2**-9)
    verify(VerifyConfig(run, quiet=True))  # checksums hold
    with pytest.raises(CorruptFileError, match=r"row 6 \(006\.png\) is off by a relative .* 0\.00"):
        checked(run)
    change_row(store, COUNT - 1, 1 / (1 + 2**-9))
    change_row(store, 0, -1.0)
    with pytest.raises(
        CorruptFileError, match=r"row 0 \(000\.png\) is off by a relative error of 2"
    ):
        checked(run, deep=1)


def test_a_row_of_bytes_may_be_off_by_their_rounding_and_no_more(images, tmp_path):
    run = tmp_path / "run"
    store = featurized(run, "none", images, output_function="pixels", dtype="int8")
    checked(run)
    opened = FeatureStore.open(store)
    rows = opened.shard(0)
    features = np.array(rows.features)
    features[0] += np.where(features[0] > 0, -2, 2).astype(np.int8)  # steps of rounding
    path = opened.layout.shard_path(0)
    path.unlink()
    write_shard(path, dataclasses.replace(rows, features=features), opened.fingerprint.hash())
    with pytest.raises(CorruptFileError, match=r"row 0 \(000\.png\) is off"):
        checked(run)


def test_a_row_that_is_quarantined_for_no_reason_is_named(images, tmp_path):
    good, run = images / "000.png", tmp_path / "run"
    kept = good.read_bytes()
    spoil(good)
    featurized(run, "none", images, output_function="pixels")
    checked(run)
    store = FeatureStore.open(run / "train")
    good.write_bytes(kept)
    other = job_of(tmp_path / "other", "none", images, output_function="pixels")
    whole = FeatureStore.open(featurize(other).path)
    assert not store.usable()[0]
    layout = whole.layout
    rows = store.shard(0)
    contents = dataclasses.replace(rows, features=np.array(rows.features))
    layout.shard_path(0).unlink()
    write_shard(layout.shard_path(0), contents, whole.fingerprint.hash())
    shutil.copy(store.layout.quarantine_path, layout.quarantine_path)
    with pytest.raises(CorruptFileError, match=r"row 0 \(000\.png\) is quarantined, and has a fea"):
        checked(tmp_path / "other")


def test_another_model_is_refused_by_its_weights(
    model_folder, other_model_folder, images, tmp_path
):
    model, run = tmp_path / "model", tmp_path / "run"
    shutil.copytree(model_folder, model)
    featurized(run, str(model), images)
    shutil.rmtree(model)
    shutil.copytree(other_model_folder, model)
    with pytest.raises(FingerprintMismatchError, match="weights differs"):
        checked(run)
    checked(run, model=model_folder)


def test_other_images_are_refused_and_moved_ones_found_where_they_are_told_to_be(images, tmp_path):
    run = tmp_path / "run"
    featurized(run, "none", images, output_function="pixels")
    shutil.move(images, tmp_path / "moved")
    with pytest.raises(DtrakStreamError, match="images"):
        checked(run)
    checked(run, train=str(tmp_path / "moved"))
    save_images(images, random_pixels(COUNT, seed=1))
    with pytest.raises(FingerprintMismatchError, match="images differs"):
        checked(run)


def test_the_flag_stands_alone_or_with_a_number_and_its_fault_ends_the_tool(
    images, tmp_path, capsys
):
    run = tmp_path / "run"
    store = featurized(run, "none", images, output_function="pixels")
    assert parse(VerifyConfig, ["--run", "r", "--deep"]).deep == USUAL_ROWS
    code, _, told = run_tool("verify", ["--run", str(run), "--deep", "2"], capsys)
    assert code == EXIT_DONE
    assert "2 rows computed again" in told
    change_row(store, 0, 2.0)
    code, _, told = run_tool("verify", ["--deep", "--run", str(run)], capsys)
    assert code == EXIT_REFUSED
    assert told.splitlines()[-1].startswith(f"error: {store}: row 0 (000.png)")


@pytest.mark.parametrize("options", [{"deep": -1}, {"model": "m"}, {"train": "t"}, {"query": "q"}])
def test_options_that_mean_nothing_are_refused(tmp_path, options):
    with pytest.raises(ConfigurationError, match=f"--{next(iter(options))}"):
        VerifyConfig(tmp_path, **options)


@pytest.mark.parametrize("count", [1, 2, 3, 8, 9, 100, 12_345])
@pytest.mark.parametrize("wanted", [1, 2, 3, 8, 50])
def test_rows_are_spread_over_the_store_with_both_ends(count, wanted):
    rows = sampled_rows(count, wanted, seed="a")
    assert rows == sampled_rows(count, wanted, seed="a")
    assert len(rows) == min(count, max(2, wanted))
    assert (rows[0], rows[-1]) == (0, count - 1)
    assert max(np.diff([-1, *rows])) <= 2 * max(1, count / max(1, len(rows) - 2)) + 1


def test_other_stores_have_other_rows_looked_at():
    assert len({tuple(sampled_rows(10_000, 8, seed=seed)) for seed in "0123"}) == 4
