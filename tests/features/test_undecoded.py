"""Images are decoded where their latents are not there, and only there."""

from __future__ import annotations

import pytest
import torch

from dtrak_stream.data.images import open_images
from dtrak_stream.data.samples import read_batch
from dtrak_stream.errors import InputError
from dtrak_stream.features.kept_latents import KeptLatents
from dtrak_stream.features.undecoded import UndecodedSamples
from dtrak_stream.model.loading import load_denoiser
from tests.featurizing.test_captions import save_captioned
from tests.model.pipelines import PIPELINES

COUNT = 4


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return load_denoiser(PIPELINES["ldm-kl"].save(tmp_path_factory.mktemp("ldm"))).first_stage


@pytest.fixture
def folder(tmp_path):
    return save_captioned(tmp_path / "images", ("a",) * COUNT)


@pytest.fixture
def images(folder):
    return open_images(str(folder), visible=False)


def test_only_images_without_latents_are_decoded(stage, images, tmp_path):
    first, _ = read_batch(images, range(1, 3))
    KeptLatents(stage, tmp_path / "kept", images).latents(first.tensors, first.ids)
    kept = KeptLatents(stage, tmp_path / "kept", images)
    samples = UndecodedSamples(images, kept)
    batch, reasons = read_batch(samples, range(COUNT))
    assert not reasons
    assert batch.tensors.isnan().flatten(1).all(1).tolist() == [False, True, True, False]
    whole, _ = read_batch(images, range(COUNT))
    assert torch.equal(batch.tensors[[0, 3]], whole.tensors[[0, 3]])
    found = kept.latents(batch.tensors, batch.ids)
    each = [stage.latents(whole.tensors[n : n + 1], whole.ids[n : n + 1]) for n in range(COUNT)]
    assert torch.equal(found, torch.cat(each))
    assert samples.identity() == images.identity()


def test_a_latent_that_went_after_it_was_seen_is_made_of_the_image_again(stage, images, tmp_path):
    whole, _ = read_batch(images, range(COUNT))
    made = KeptLatents(stage, tmp_path / "kept", images).latents(whole.tensors, whole.ids)
    kept = KeptLatents(stage, tmp_path / "kept", images)
    batch, _ = read_batch(UndecodedSamples(images, kept), range(COUNT))
    rows = tmp_path / "kept" / "latents.bin"
    content = rows.read_bytes()
    rows.write_bytes(content[: len(content) // 2])
    assert torch.equal(kept.latents(batch.tensors, batch.ids), made)
    assert rows.read_bytes() == content


def test_an_image_that_went_with_its_latent_is_told(stage, folder, images, tmp_path):
    whole, _ = read_batch(images, range(COUNT))
    KeptLatents(stage, tmp_path / "kept", images).latents(whole.tensors, whole.ids)
    kept = KeptLatents(stage, tmp_path / "kept", images)
    batch, _ = read_batch(UndecodedSamples(images, kept), range(1))
    (tmp_path / "kept" / "latents.bin").write_bytes(b"")
    (folder / "000.png").write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"000\.png: could be read before"):
        kept.latents(batch.tensors, batch.ids)
