"""Latents on disk: made once, read afterwards, whatever happened in between."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

import dtrak_stream
from dtrak_stream.data.images import open_images
from dtrak_stream.data.samples import read_batch
from dtrak_stream.errors import (
    ConfigurationError,
    CorruptFileError,
    DiskFullError,
    FingerprintMismatchError,
    InputError,
)
from dtrak_stream.features import kinds
from dtrak_stream.features.kept_latents import KeptLatents
from dtrak_stream.features.kinds import kept_on_disk
from dtrak_stream.model.first_stage import FirstStage
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.model.options import LoadingOptions
from dtrak_stream.store.reader import FeatureStore
from tests.attribution.jobs import job
from tests.model.pipelines import PIPELINES
from tests.small_jobs import small_job

COUNT = 7


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return PIPELINES["ldm-kl"].save(tmp_path_factory.mktemp("ldm"))


@pytest.fixture(scope="module")
def stage(model) -> FirstStage:
    found = load_denoiser(model).first_stage
    assert found is not None
    return found


def array_of_images(folder: Path, seed: int = 0, name: str = "images") -> str:
    pixels = np.random.default_rng(seed).integers(0, 256, (COUNT, 16, 16, 3), dtype=np.uint8)
    np.save(folder / f"{name}.npy", pixels)
    return str(folder / f"{name}.npy")


@pytest.fixture
def images(tmp_path):
    return open_images(array_of_images(tmp_path), visible=False)


def asked(kept: KeptLatents, images, rows: range) -> torch.Tensor:
    batch, _ = read_batch(images, rows)
    return kept.latents(batch.tensors, batch.ids)


def test_latents_are_made_once_and_read_afterwards(stage, images, tmp_path):
    first = KeptLatents(stage, tmp_path / "kept", images)
    made = asked(first, images, range(2, 5))
    assert (first.read, first.encoded) == (0, 3)
    batch, _ = read_batch(images, range(2, 5))
    pairs = zip(batch.tensors, batch.ids, strict=True)
    assert torch.equal(made, torch.cat([stage.latents(one[None], [name]) for one, name in pairs]))
    again = KeptLatents(stage, tmp_path / "kept", images)
    again.refuse_other()
    found = asked(again, images, range(1, 6))
    assert (again.read, again.encoded) == (3, 2)
    assert torch.equal(found[1:4], made)
    assert again.remarks() == [f"{tmp_path / 'kept'}: 3 latents read, 2 encoded"]
    last = KeptLatents(stage, tmp_path / "kept", images)
    assert torch.equal(asked(last, images, range(1, 6)), found)
    assert (last.read, last.encoded) == (5, 0)


def test_a_row_in_pieces_is_made_again(stage, images, tmp_path):
    made = asked(KeptLatents(stage, tmp_path / "kept", images), images, range(COUNT))
    path = tmp_path / "kept" / "latents.bin"
    content = bytearray(path.read_bytes())
    row = len(content) // COUNT
    content[3 * row + 5] ^= 1
    path.write_bytes(content[: 6 * row + 9])  # and the last one was cut short
    again = KeptLatents(stage, tmp_path / "kept", images)
    assert torch.equal(asked(again, images, range(COUNT)), made)
    assert (again.read, again.encoded) == (5, 2)


def test_a_row_in_the_place_of_another_is_none(stage, images, tmp_path):
    asked(KeptLatents(stage, tmp_path / "kept", images), images, range(COUNT))
    path = tmp_path / "kept" / "latents.bin"
    content = path.read_bytes()
    row = len(content) // COUNT
    path.write_bytes(content[row : 2 * row] + content[row:])
    again = KeptLatents(stage, tmp_path / "kept", images)
    asked(again, images, range(2))
    assert (again.read, again.encoded) == (1, 1)


def test_other_images_are_encoded_and_not_kept(stage, images, tmp_path):
    kept = KeptLatents(stage, tmp_path / "kept", images)
    for _ in range(2):
        found = kept.latents(torch.zeros(1, 3, 16, 16), ["none of these"])
        torch.testing.assert_close(found, stage.latents(torch.zeros(1, 3, 16, 16), ["x"]))
    assert (kept.read, kept.encoded) == (0, 2)


def refusal_of(stage, folder, images) -> FingerprintMismatchError:
    with pytest.raises(FingerprintMismatchError) as refusal:
        KeptLatents(stage, folder, images).refuse_other()
    return refusal.value


def test_another_first_stage_or_other_images_are_refused_by_name(stage, model, images, tmp_path):
    folder = tmp_path / "kept"
    asked(KeptLatents(stage, folder, images), images, range(1))
    drawn = load_denoiser(model, LoadingOptions("sample")).first_stage
    assert refusal_of(drawn, folder, images).field == "first stage"
    others = open_images(array_of_images(tmp_path, 1, "others"), visible=False)
    refusal = refusal_of(stage, folder, others)
    assert refusal.field == "images"
    assert "give another folder as --cache-latents" in str(refusal)
    fewer = open_images(f"{tmp_path}/images.npy[:5]", visible=False)
    assert refusal_of(stage, folder, fewer).field == "samples"


def test_a_folder_of_something_else_or_without_room_is_refused(
    stage, images, tmp_path, monkeypatch
):
    folder = tmp_path / "kept"
    folder.mkdir()
    (folder / "mine.txt").touch()
    with pytest.raises(InputError, match=r"--cache-latents .*: holds mine\.txt"):
        KeptLatents(stage, folder, images).refuse_other()
    (folder / "latents.json").write_text("[]")
    with pytest.raises(CorruptFileError, match="is no record of latents"):
        KeptLatents(stage, folder, images).refuse_other()
    (folder / "latents.json").write_text("{")
    with pytest.raises(CorruptFileError, match="not readable as JSON"):
        KeptLatents(stage, folder, images).refuse_other()
    (folder / "latents.json").unlink()
    (folder / "mine.txt").unlink()
    wanted = []
    monkeypatch.setattr(kinds, "refuse_without_room", lambda _, size: wanted.append(size))
    kept_on_disk(stage, None, folder, images)
    assert wanted == [COUNT * (4 * 4 * 8 * 8 + 8)]
    assert not list(folder.iterdir())


def test_a_full_disk_is_told_as_such(stage, images, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(DiskFullError, match=r"latents\.bin: no room left"):
        asked(KeptLatents(stage, tmp_path / "kept", images), images, range(1))


def test_several_featurizations_share_what_was_encoded(model, tmp_path, capsys):
    source, kept = array_of_images(tmp_path), tmp_path / "kept"
    rows = {}
    for name, seed in (("plain", 0), ("first", 0), ("second", 1)):
        config = small_job(model, source, tmp_path / name, seed=seed)
        if name != "plain":
            config = dtrak_stream.FeaturizeConfig(**{**vars(config), "cache_latents": kept})
        dtrak_stream.featurize(config)
        rows[name] = FeatureStore.open(tmp_path / name).rows(range(COUNT))
    told = capsys.readouterr().err
    assert f"{kept}: 0 latents read, 7 encoded" in told
    assert f"{kept}: 7 latents read, 0 encoded" in told
    np.testing.assert_allclose(rows["first"], rows["plain"], rtol=2e-3, atol=1e-6)
    assert json.loads((kept / "latents.json").read_text())["samples"] == COUNT


def test_a_run_keeps_training_images_and_queries_apart(model, tmp_path):
    sources = (Path(array_of_images(tmp_path)), Path(array_of_images(tmp_path, 1, "queries")))
    config = job(model, sources, tmp_path / "run")
    dtrak_stream.attribute(
        dtrak_stream.AttributeConfig(**{**vars(config), "cache_latents": tmp_path / "kept"})
    )
    found = {name: tmp_path / "kept" / name for name in ("train", "query")}
    records = [json.loads((each / "latents.json").read_text()) for each in found.values()]
    assert records[0]["images"] != records[1]["images"]
    assert all((each / "latents.bin").stat().st_size for each in found.values())


@pytest.mark.parametrize(
    ("features", "problem"),
    [({}, "the model has no latents"), ({"output_function": "pixels"}, "pixels features have no")],
)
def test_a_cache_of_no_latents_is_refused(model_folder, tmp_path, features, problem):
    np.save(tmp_path / "gray.npy", np.zeros((3, 8, 8), np.uint8))
    config = small_job(model_folder, tmp_path / "gray.npy", tmp_path / "store", **features)
    config = dtrak_stream.FeaturizeConfig(**{**vars(config), "cache_latents": tmp_path / "kept"})
    with pytest.raises(ConfigurationError, match=problem):
        dtrak_stream.featurize(config)
