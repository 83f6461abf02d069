"""Embeddings of captions on disk: equal captions are encoded once, whatever happened in between."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dtrak_stream.data.images import open_images
from dtrak_stream.errors import CorruptFileError, DiskFullError, FingerprintMismatchError
from dtrak_stream.features import kinds
from dtrak_stream.features.kept_prompts import KeptPrompts, with_kept_prompts
from dtrak_stream.features.kinds import kept_on_disk
from dtrak_stream.model.captions import Captions
from dtrak_stream.model.loading import load_denoiser
from tests.featurizing.test_captions import save_captioned
from tests.model.text_pipelines import TEXT_PIPELINES

CAPTIONS = ("a red cat", "a dog", "a red cat", "7")


@pytest.fixture(scope="module", params=["sd", "sdxl", "pixart"])
def denoiser(request, tmp_path_factory):
    return load_denoiser(TEXT_PIPELINES[request.param].save(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = save_captioned(tmp_path_factory.mktemp("images"), CAPTIONS)
    return open_images(str(folder), conditioned_on="caption", visible=False)


def opened(denoiser, folder: Path, images) -> KeptPrompts:
    kept = KeptPrompts(denoiser.conditioner.encoder, folder, images)
    kept.refuse_other()
    return kept


def file_of(folder: Path) -> Path:
    (path,) = folder.rglob("00000.bin")
    return path


def assert_alike(found, expected):
    assert set(found) == set(expected)
    for name in expected:
        assert found[name].dtype == expected[name].dtype
        assert torch.equal(found[name], expected[name]), name


def test_embeddings_are_made_once_and_read_afterwards_to_the_bit(denoiser, images, tmp_path):
    own: Captions = denoiser.conditioner
    kept = with_kept_prompts(own, tmp_path, images)
    device = torch.device("cpu")
    expected = own.inputs(CAPTIONS, device)
    assert_alike(kept.inputs(CAPTIONS, device), expected)
    assert (kept.kept.read, kept.kept.encoded) == (0, 3)
    again = with_kept_prompts(own, tmp_path, images)
    assert again.identity == own.identity
    assert_alike(again.inputs((*CAPTIONS, "new"), device), own.inputs((*CAPTIONS, "new"), device))
    assert (again.kept.read, again.kept.encoded) == (3, 1)
    assert again.remarks()[-1].endswith(": 3 captions read, 1 encoded")


def test_an_embedding_in_pieces_is_made_again_in_its_place(denoiser, images, tmp_path):
    made = opened(denoiser, tmp_path, images).encode("a dog")
    path = file_of(tmp_path)
    whole = path.read_bytes()
    for broken in (whole[:-9] + b"\x01" + whole[-8:], whole[:-30]):
        path.write_bytes(broken)
        again = opened(denoiser, tmp_path, images)
        assert_alike(again.encode("a dog"), made)
        assert (again.read, again.encoded) == (0, 1)
        assert path.read_bytes() == whole


def test_texts_of_one_slot_stand_beside_one_another(denoiser, images, tmp_path):
    kept = opened(denoiser, tmp_path, images)
    texts = [str(number) for number in range(40)]  # of 64 slots
    for text in texts:
        kept.encode(text)
    again = opened(denoiser, tmp_path, images)
    for text in texts:
        assert_alike(again.encode(text), denoiser.conditioner.encoder.encode(text))
    assert (again.read, again.encoded) == (40, 0)


def test_texts_beyond_all_slots_are_encoded_and_not_kept(denoiser, images, tmp_path):
    for _ in range(2):
        kept = opened(denoiser, tmp_path, images)
        for number in range(66):
            kept.encode(str(number))
    assert (kept.read, kept.encoded) == (64, 2)


def test_another_record_is_refused(denoiser, images, tmp_path):
    opened(denoiser, tmp_path, images).encode("a dog")
    (record,) = tmp_path.rglob("prompts.json")
    content = json.loads(record.read_text())
    record.write_text(json.dumps({**content, "slots": 3}))
    with pytest.raises(FingerprintMismatchError, match="slots"):
        opened(denoiser, tmp_path, images)
    record.write_text("{")
    with pytest.raises(CorruptFileError, match="not readable as JSON"):
        opened(denoiser, tmp_path, images)


def test_room_is_asked_for_different_captions_if_there_is_not_enough_for_all(
    denoiser, images, tmp_path, monkeypatch
):
    asked: list[int] = []

    def refusing(folder, size):
        asked.append(size)
        if len(asked) == 1:
            raise DiskFullError("full", where=folder, remedy="none")

    monkeypatch.setattr(kinds, "refuse_without_room", refusing)
    own = denoiser.conditioner
    latents, captions = kept_on_disk(denoiser.first_stage, own, tmp_path, images)
    assert captions is not None
    inputs = own.encoder.encode("a dog")
    row = 16 + sum(each.nbytes for each in inputs.values()) + 8
    assert asked == [latents.missing_bytes + 4 * row, latents.missing_bytes + 3 * row]
    assert not list(tmp_path.iterdir())
