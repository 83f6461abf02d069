"""Relative residuals: kept in a file of their own, continued after a kill, refused by name."""

from __future__ import annotations

from dataclasses import replace

import h5py
import numpy as np
import pytest

from dtrak_stream.errors import (
    ConfigurationError,
    CorruptFileError,
    FingerprintMismatchError,
    InputError,
    InterruptedRunError,
)
from dtrak_stream.scoring import neighbours as neighbours_module
from dtrak_stream.scoring.neighbours import Neighbourhood
from dtrak_stream.scoring.relative_residuals import read_relative, relative_file
from dtrak_stream.scoring.run import score
from dtrak_stream.seen.judgement import judge, residuals_in
from dtrak_stream.seen.overfitting import loss_ratio
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.verification.options import VerifyConfig
from dtrak_stream.verification.run import verify
from tests.conftest import store_of
from tests.crashing import finishes_before_step
from tests.scoring.conftest import attributes, attribution_of, read, whole_numbers
from tests.scoring.test_neighbours import slowly
from tests.seen.test_calibration import mixture
from tests.seen.test_judgement import residual_store

COUNT, OTHERS = 300, 100


def pixel_store(root, places, images):
    return store_of(root, places, output_function="pixels", images=images, rows_per_shard=64)


def made(tmp_path, *, with_holes):
    """Return features, residuals and pixels of 300 training images, of which one half was seen."""
    run = attribution_of(tmp_path, whole_numbers(COUNT, 8), whole_numbers(5, 8, 1))
    candidates, held_out, _ = mixture(0.5, count=COUNT, held_out=OTHERS)
    places = np.random.default_rng(3).normal(size=(COUNT + OTHERS, 6)).astype(np.float32)
    if with_holes:
        candidates[7], places[COUNT + 5] = np.nan, np.nan
    residual_store(tmp_path / "residuals", candidates, images="train")
    residual_store(tmp_path / "held-out", held_out, images="others")
    pixel_store(tmp_path / "pixels", places[:COUNT], "train")
    pixel_store(tmp_path / "other-pixels", places[COUNT:], "others")
    return run


@pytest.fixture
def run(tmp_path):
    return made(tmp_path, with_holes=True)


@pytest.fixture
def whole(tmp_path):
    return made(tmp_path, with_holes=False)


def config(run, name="scores.h5", *, neighbours=20, **changed):
    folders = {"residuals": "residuals", "held_out": "held-out"}
    folders |= {"pixels": "pixels", "held_out_pixels": "other-pixels"}
    options = {key: changed.pop(key) for key in ("seen", "damping", "transform") if key in changed}
    plain = run.config(run.folder / name, top_k=20, **options)
    paths = {key: run.folder / each for key, each in (folders | changed).items() if each}
    return replace(plain, neighbours=neighbours, **paths)


def expected(run, count=20):
    """Return the relative residuals of candidates and held-out images, slowly."""
    folder = run.folder
    residuals = [
        residuals_in(FeatureStore.open(folder / each)) for each in ("residuals", "held-out")
    ]
    places = [
        FeatureStore.open(folder / each).rows(range(n))
        for each, n in (("pixels", COUNT), ("other-pixels", OTHERS))
    ]
    both = np.concatenate(residuals)
    both[COUNT + 5] = np.nan
    found = slowly(places, both, count)
    return found[:COUNT], found[COUNT:]


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr(neighbours_module, "ROWS_OF_TILE", 16)
    monkeypatch.setattr(neighbours_module, "COLUMNS_OF_TILE", 64)
    monkeypatch.setattr(neighbours_module, "_TILES_OF_BLOCK", 2)


def test_the_probability_is_told_by_relative_residuals_and_the_damping_by_their_own(run, capsys):
    found = read(score(config(run)).path)
    ours, theirs = expected(run)
    judged = judge(ours, theirs)
    np.testing.assert_array_equal(found["seen"], judged.probability)
    assert np.isnan(found["seen"][7])
    facts = attributes(run.out)
    assert (facts["neighbours"], facts["held_out_images"]) == (20, OTHERS - 1)
    assert facts["seen_area"] == pytest.approx(judged.area.value)
    plain = [
        residuals_in(FeatureStore.open(run.folder / each)) for each in ("residuals", "held-out")
    ]
    ratio = loss_ratio(*(each[np.isfinite(each)] for each in plain))
    assert facts["held_out_loss_ratio"] == pytest.approx(ratio.value)
    assert "relative to the 20 images nearest to it in pixels" in capsys.readouterr().err
    attached, values = read_relative(relative_file(run.folder / "residuals"))
    np.testing.assert_allclose(values, np.concatenate([ours, theirs]), rtol=1e-12)
    assert attached["pixels_fingerprint"] == FeatureStore.open(run.folder / "pixels").layout.state


def test_without_neighbours_a_file_is_what_it_was(run):
    plain = replace(config(run, neighbours=0), pixels=None, held_out_pixels=None)
    score(plain)
    assert attributes(run.out)["neighbours"] == 0
    assert not relative_file(run.folder / "residuals").exists()
    assert score(config(run)).computed
    assert not score(config(run)).computed
    assert score(config(run, neighbours=5)).computed
    assert score(plain).computed


@pytest.mark.usefixtures("small_tiles")
def test_a_killed_search_goes_on_and_ends_in_the_same_bytes(run, monkeypatch):
    path = relative_file(run.folder / "residuals")
    score(config(run))
    whole = path.read_bytes()
    path.unlink()
    relative, calls = Neighbourhood.relative, []

    def stopped(self, block, *arguments):
        calls.append(block.first)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return relative(self, block, *arguments)

    monkeypatch.setattr(Neighbourhood, "relative", stopped)
    with pytest.raises(InterruptedRunError, match="blocks of neighbours are kept"):
        score(config(run, "again.h5"))
    assert not path.exists()
    score(config(run, "again.h5"))
    assert len(calls) == len(set(calls)) + 1  # none of the finished ones twice
    assert path.read_bytes() == whole
    assert not path.with_name(path.name + ".parts").exists()
    np.testing.assert_array_equal(
        read(run.folder / "again.h5")["seen"], read(run.folder / "scores.h5")["seen"]
    )


@pytest.mark.usefixtures("small_tiles")
def test_a_finished_block_that_is_damaged_meanwhile_is_told_and_made_again(run, monkeypatch):
    relative, calls = Neighbourhood.relative, []

    def damaging(self, block, *arguments):
        calls.append(block.first)
        if len(calls) == 3:
            folder = relative_file(run.folder / "residuals").with_name(
                "residuals.relative.h5.parts"
            )
            first = next(folder.glob("images-0.*"))
            first.write_bytes(first.read_bytes()[:-1])
        return relative(self, block, *arguments)

    monkeypatch.setattr(Neighbourhood, "relative", damaging)
    with pytest.raises(CorruptFileError, match=r"finished block .* was damaged"):
        score(config(run))
    score(config(run))
    assert calls.count(0) == 2
    assert np.isfinite(read(run.folder / "scores.h5")["seen"]).sum() == COUNT - 1


@pytest.mark.usefixtures("small_tiles")
def test_kill_9_at_any_step_and_a_restart_give_the_same_bytes(run):
    path = relative_file(run.folder / "residuals")
    score(config(run))
    whole = path.read_bytes()
    path.unlink()
    step, killed = 3, 0
    while not finishes_before_step(lambda: score(config(run, "again.h5")), step):
        step, killed = step + 17, killed + 1
    assert killed > 1
    assert path.read_bytes() == whole


def test_pixels_that_changed_since_are_looked_at_again(run, capsys):
    score(config(run))
    other = np.random.default_rng(4).normal(size=(COUNT, 6)).astype(np.float32)
    pixel_store(run.folder / "new", other, "train")
    store = FeatureStore.open(run.folder / "new")
    assert store.layout.state == FeatureStore.open(run.folder / "pixels").layout.state
    fewer = other[:, :4]
    pixel_store(run.folder / "fewer", fewer, "train")
    with pytest.raises(FingerprintMismatchError, match="proj_dim"):
        score(config(run, pixels="fewer"))
    others = np.random.default_rng(5).normal(size=(OTHERS, 4)).astype(np.float32)
    pixel_store(run.folder / "fewer-others", others, "others")
    assert score(config(run, pixels="fewer", held_out_pixels="fewer-others")).computed
    assert "finding neighbours again" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"neighbours": COUNT}, r"^--neighbours 300: there are 300 candidates only"),
        ({"pixels": None}, r"^--neighbours 20: .*give --pixels"),
        ({"held_out_pixels": None}, r"^--neighbours 20: .*give --held-out-pixels"),
        ({"neighbours": 0}, r"^--pixels .*give --neighbours"),
        ({"residuals": None, "held_out": None}, r"^--neighbours 20: .*give --residuals"),
    ],
)
def test_what_is_missing_is_refused_by_name(run, changed, message):
    with pytest.raises(ConfigurationError, match=message):
        score(config(run, **changed))
    assert not run.out.exists()


def test_other_stores_are_refused_by_name(run):
    with pytest.raises(InputError, match=r"^--pixels .*holds features of residuals, not pixels"):
        score(config(run, pixels="residuals"))
    with pytest.raises(FingerprintMismatchError, match="samples"):
        score(config(run, pixels="other-pixels"))
    pixel_store(run.folder / "strangers", np.ones((COUNT, 6), np.float32), "strangers")
    with pytest.raises(FingerprintMismatchError, match="images"):
        score(config(run, pixels="strangers"))
    with pytest.raises(ConfigurationError, match="--neighbours -1"):
        config(run, neighbours=-1)


def test_what_lies_where_the_file_goes_is_left_alone(run):
    path = relative_file(run.folder / "residuals")
    path.write_text("precious\n")
    with pytest.raises(InputError, match="a file of relative residuals"):
        score(config(run))
    assert path.read_text() == "precious\n"
    assert not run.out.exists()


def test_a_damaged_file_is_refused_and_verify_tells_of_it(whole, capsys):
    score(config(whole))
    path = relative_file(whole.folder / "residuals")
    verify(VerifyConfig(whole.folder, quiet=True))
    assert f"ok  {path.name}: relative to 20 neighbours, 300 + 100" in capsys.readouterr().err
    with h5py.File(path, "r+") as file:
        file["relative_residuals"][11] *= 1.001
    with pytest.raises(CorruptFileError, match="checksum"):
        verify(VerifyConfig(whole.folder, quiet=True))
    with pytest.raises(CorruptFileError, match="checksum"):
        score(config(whole, "again.h5"))


def test_verify_tells_relative_residuals_of_no_store_here(whole):
    score(config(whole))
    (whole.folder / "other-pixels").rename(whole.folder.parent / "gone")
    with pytest.raises(FingerprintMismatchError, match="held_out_pixels_fingerprint"):
        verify(VerifyConfig(whole.folder, quiet=True))
