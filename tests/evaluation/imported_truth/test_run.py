"""A truth of D-TRAK's loss files: what it holds, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dtrak_stream.errors import ConfigurationError, DtrakStreamError, InputError
from dtrak_stream.evaluation.imported_truth.configuration import (
    ImportTruthConfig,
    ImportTruthResult,
)
from dtrak_stream.evaluation.imported_truth.run import import_truth
from dtrak_stream.evaluation.truth import TruthFile
from dtrak_stream.exchange.options import PickedImages
from tests.d_trak_folders import (
    QUERIES,
    SUBSETS,
    TIMESTEPS,
    TRAIN,
    DTrakFolders,
    d_trak_folders,
    dump,
    in_batches,
)
from tests.small_jobs import random_pixels, save_images


@pytest.fixture
def folders(tmp_path) -> DTrakFolders:
    return d_trak_folders(tmp_path / "CelebA")


def imported(folders: DTrakFolders, out: Path, **options: Any) -> ImportTruthResult:
    return import_truth(
        ImportTruthConfig(
            out=out,
            index=folders.indices / "idx-train.pkl",
            subset_index=folders.indices / "lds-val",
            models=folders.models,
            quiet=True,
            **options,
        )
    )


def test_losses_are_means_over_timesteps_and_noise_of_every_seed(folders, tmp_path):
    result = imported(folders, tmp_path / "truth.npz")
    assert (result.subsets, result.models, result.left_out) == (SUBSETS, 3 * SUBSETS, ())
    truth = TruthFile(result.path)
    assert np.array_equal(truth.mask, folders.masks)
    for key, name in (("loss", "val"), ("loss_gen", "gen")):
        of_seeds = folders.losses[name].astype(np.float64).mean(axis=(0, 3))  # (S, M, Q)
        found = truth.loss_of_seeds(key)
        assert found is not None
        np.testing.assert_allclose(found, of_seeds, rtol=1e-12)
        np.testing.assert_allclose(truth.loss(key), of_seeds.mean(axis=0), rtol=1e-12)
        assert truth.attributes["queries"][key]["name"] == name
        assert truth.attributes["queries"][key]["loss-timesteps"] == str(TIMESTEPS)


def test_samples_are_named_by_their_rows_or_as_they_are_listed(folders, tmp_path):
    val = folders.indices / "idx-val.pkl"
    truth = TruthFile(imported(folders, tmp_path / "a.npz", query=(f"val={val}", "gen")).path)
    names = truth.train_ids()
    assert names is not None
    assert names.tolist() == [str(row).encode() for row in folders.rows["train"]]
    assert truth.query_ids("loss") == [str(row) for row in folders.rows["val"]]
    assert truth.query_ids("loss_gen") is None
    (tmp_path / "ids.txt").write_text("".join(f"{row:06d}.jpg\n" for row in folders.rows["train"]))
    listed = imported(folders, tmp_path / "b.npz", ids=tmp_path / "ids.txt").path
    assert TruthFile(listed).train_ids()[0].decode() == f"{folders.rows['train'][0]:06d}.jpg"  # type: ignore[index]
    images = save_images(tmp_path / "images", random_pixels(TRAIN))
    pictured = imported(folders, tmp_path / "c.npz", images=str(images)).path
    assert TruthFile(pictured).train_ids()[1] == b"001.png"  # type: ignore[index]
    rows = dump(tmp_path / "rows.pkl", list(range(TRAIN))[::-1])
    options: dict[str, Any] = {"images": str(images), "picked": PickedImages(rows=rows)}
    reversed_ = imported(folders, tmp_path / "d.npz", **options).path
    assert TruthFile(reversed_).train_ids()[0] == b"011.png"  # type: ignore[index]


def test_some_subsets_seeds_and_noises_can_be_chosen(folders, tmp_path):
    options: dict[str, Any] = {"subsets": "2:6", "model_seeds": (1,), "noise_seeds": (2, 0)}
    truth = TruthFile(imported(folders, tmp_path / "t.npz", query=("gen",), **options).path)
    assert np.array_equal(truth.mask, folders.masks[2:6])
    losses = folders.losses["gen"].astype(np.float64)[[2, 0], 1, 2:6].mean(axis=(0, 2))
    np.testing.assert_allclose(truth.loss("loss"), losses, rtol=1e-12)
    assert truth.loss_of_seeds("loss") is None
    assert truth.loss_keys == ("loss",)
    assert truth.attributes["subset-numbers"] == [2, 3, 4, 5]


def test_missing_losses_are_counted_and_named_or_left_out_when_asked_for(folders, tmp_path, capsys):
    for lost in ((3, 1, 0, "val"), (3, 1, 2, "gen"), (7, 0, 0, "val"), (7, 2, 0, "val")):
        folders.loss_file(*lost).unlink()
    told = (
        r"4 files of losses are missing, of 2 of 8 subsets \(ddpm-sub-3-1/e-0-val\.pkl, "
        r"ddpm-sub-3-1/e-2-gen\.pkl, ddpm-sub-7-0/e-0-val\.pkl, \.\.\.\)"
    )
    with pytest.raises(InputError, match=told):
        imported(folders, tmp_path / "truth.npz")
    assert not list(tmp_path.glob("truth*"))
    result = imported(folders, tmp_path / "truth.npz", missing="leave-out")
    assert (result.left_out, result.subsets) == ((3, 7), 6)
    assert "2 subsets are left out: 3, 7" in capsys.readouterr().err
    truth = TruthFile(result.path)
    assert np.array_equal(truth.mask, folders.masks[[0, 1, 2, 4, 5, 6]])
    losses = folders.losses["val"].astype(np.float64).mean(axis=(0, 1, 3))
    np.testing.assert_allclose(truth.loss("loss"), losses[[0, 1, 2, 4, 5, 6]], rtol=1e-12)
    assert truth.attributes["left-out-subsets"] == [3, 7]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model_seeds": (0, 5)}, "48 files of losses are missing, of 8 of 8 subsets"),
        ({"noise_seeds": (9,)}, r"48 files of losses .*ddpm-sub-0-0/e-9-val\.pkl"),
        ({"noise_seeds": (9,), "missing": "leave-out"}, "48 files of losses are missing"),
        ({"subsets": "0:9"}, "of 1 of 9 subsets"),
        ({"subsets": "20:30"}, "holds no losses of subsets 20 to 29"),
        ({"query": ("test",)}, "holds no losses of test"),
        ({"query": ("val", "val")}, "--query val: is no name"),
        ({"query": ("val", "seeds")}, "--query seeds: is no name"),
        ({"query": ()}, "names no set"),
        ({"subsets": "5:5"}, "is no range of subsets"),
        ({"subsets": "0:999999999"}, "is no range of subsets"),
        ({"subsets": "all"}, "is no range of subsets"),
        ({"model_seeds": (-1,)}, "--model-seeds -1"),
        ({"ids": Path("a"), "images": "b"}, "the ids are given twice"),
    ],
)
def test_what_is_not_there_or_makes_no_sense_is_refused(folders, tmp_path, options, message):
    with pytest.raises(DtrakStreamError, match=message):
        imported(folders, tmp_path / "truth.npz", **options)
    assert not list(tmp_path.glob("truth*"))


def spoiled_losses(folders: DTrakFolders, what: str) -> Any:
    losses = folders.losses["val"][0, 0, 1].copy()  # (T, Q)
    batches: Any = in_batches(losses)
    if what == "nan":
        losses[2, 3] = np.nan
        return in_batches(losses)
    if what == "fewer queries":
        return batches[:1]
    if what == "fewer timesteps":
        return in_batches(losses[:-1])
    if what == "uneven batch":
        batches[0][1] = batches[0][1][:-1]
    if what == "uneven timesteps":
        batches[1] = batches[1][:-1]
    if what == "numbers":
        batches[0] = [float(step.mean()) for step in batches[0]]
    if what == "whole numbers":
        batches[0] = [step.astype(int) for step in batches[0]]
    return {"a dict": {}, "nothing": [], "an empty batch": [[]]}.get(what, batches)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("nan", r"the loss of 1 images is not finite \(first: 3\)"),
        ("fewer queries", "holds losses of 4 images at 7 timesteps, .* of 6 at 7"),
        ("fewer timesteps", "holds losses of 6 images at 6 timesteps, .* of 6 at 7"),
        ("uneven batch", "batch 0 has other numbers of images"),
        ("uneven timesteps", "has batches of 6 and of 7 timesteps"),
        ("numbers", "batch 0 is no list of arrays"),
        ("whole numbers", "batch 0 is no list of arrays"),
        ("a dict", "is no list of batches"),
        ("nothing", "is no list of batches"),
        ("an empty batch", "batch 0 is no list of arrays"),
    ],
)
def test_a_file_of_losses_that_does_not_fit_is_named(folders, tmp_path, what, message):
    path = dump(folders.loss_file(1, 0, 0, "val"), spoiled_losses(folders, what))
    with pytest.raises(InputError, match=message) as refusal:
        imported(folders, tmp_path / "truth.npz")
    assert str(path) in str(refusal.value)
    assert not list(tmp_path.glob("truth*"))


def test_subsets_must_be_of_the_training_images(folders, tmp_path):
    subset = folders.indices / "lds-val" / "sub-idx-4.pkl"
    dump(subset, [folders.rows["train"][0], *folders.rows["val"]])
    with pytest.raises(InputError, match=r"sub-idx-4\.pkl: 6 of its rows are not in .*\.\.\.\)"):
        imported(folders, tmp_path / "truth.npz")
    dump(subset, [folders.rows["train"][0]] * 2)
    with pytest.raises(InputError, match=r"sub-idx-4\.pkl: 1 rows are there more than once"):
        imported(folders, tmp_path / "truth.npz")
    subset.unlink()
    with pytest.raises(InputError, match=r"1 of 8 subsets are missing \(sub-idx-4\.pkl\)"):
        imported(folders, tmp_path / "truth.npz")
    dump(folders.indices / "idx-train.pkl", [1, 1, 2])
    with pytest.raises(InputError, match=r"idx-train\.pkl: 1 rows are there more than once \(1\)"):
        imported(folders, tmp_path / "truth.npz")


def test_ids_of_another_number_of_queries_are_refused(folders, tmp_path):
    ids = dump(tmp_path / "ids.pkl", [1, 2])
    with pytest.raises(InputError, match="names 2 queries, the losses of val are of 6"):
        imported(folders, tmp_path / "truth.npz", query=(f"val={ids}",))


def test_models_of_several_names_are_refused(folders, tmp_path):
    dump(folders.models / "sd-lora-sub-0-0" / "e-0-val.pkl", [])
    with pytest.raises(InputError, match=r"several names \(ddpm, sd-lora\)"):
        imported(folders, tmp_path / "truth.npz")


def test_equal_files_give_equal_bytes_and_more_subsets_may_follow(folders, tmp_path):
    out = tmp_path / "truth.npz"
    imported(folders, out, subsets="0:4")
    first = out.read_bytes()
    imported(folders, out, subsets="0:4")
    assert out.read_bytes() == first
    imported(folders, out)
    assert len(TruthFile(out).mask) == SUBSETS
    whole = out.read_bytes()
    for fewer in ({"subsets": "0:4"}, {"model_seeds": (0,)}, {"query": ("val",)}):
        with pytest.raises(ConfigurationError, match="holds more than these, which would be lost"):
            imported(folders, out, **fewer)
    assert out.read_bytes() == whole


def test_a_truth_of_other_subsets_is_left_alone(folders, tmp_path):
    out = tmp_path / "truth.npz"
    imported(folders, out)
    before = out.read_bytes()
    other = d_trak_folders(tmp_path / "other", seed=1)
    with pytest.raises(InputError, match="not a truth file that dtrak-stream import-truth wrote"):
        imported(other, out)
    assert out.read_bytes() == before


def test_the_attributes_tell_what_the_losses_are(folders, tmp_path):
    with np.load(imported(folders, tmp_path / "truth.npz").path) as truth:
        facts = json.loads(str(truth["attributes"]))
    assert facts["train-seeds"] == facts["noise-seeds"] == [0, 1, 2]
    assert facts["recipe"]["imported"] == "ddpm"
    assert facts["alpha"] == 0.5
    assert set(facts["queries"]) == {"loss", "loss_gen"}
    assert set(QUERIES) == {facts["queries"][key]["name"] for key in facts["queries"]}
