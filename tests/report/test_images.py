"""A page shows the images that were scored, wherever they lie, and no others of the same names."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from dtrak_stream.data.images import Images, open_images
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.errors import FingerprintMismatchError
from dtrak_stream.report.write import write_report
from tests.report.conftest import Run

ROLES = {"train": "training images", "query": "queries"}


def identity(run: Run, side: str) -> str:
    return open_images(str(run.folder / side), visible=False).identity()


@pytest.fixture
def known(run: Run) -> Run:
    """A run whose scores keep the hashes of their images."""
    run.write_scores(**{f"{side}_images": identity(run, side) for side in ROLES})
    return run


def repaint(folder: Path) -> None:
    path = sorted(folder.iterdir())[0]
    with Image.open(path) as picture:
        other = picture.point(lambda level: 255 - level)
    other.save(path)


@pytest.mark.parametrize("side", ["train", "query"])
def test_other_pixels_under_the_same_names_are_refused(known: Run, side: str) -> None:
    before = identity(known, side)
    repaint(known.folder / side)
    with pytest.raises(FingerprintMismatchError) as refusal:
        write_report(known.config)
    assert (refusal.value.stored, refusal.value.requested) == (before, identity(known, side))
    assert str(refusal.value).startswith(f"{known.folder / side}: hash of the {ROLES[side]}")
    assert not known.config.out.exists()


def test_the_same_images_elsewhere_are_shown_without_a_word(known: Run, capsys) -> None:
    moved = shutil.move(known.folder / "train", known.folder / "moved")
    write_report(replace(known.config, train=str(moved)))
    assert known.config.out.exists()
    assert capsys.readouterr().err == ""


def test_images_brought_to_their_shape_otherwise_are_refused(known: Run) -> None:
    stretched = ImageOptions(image_fit="stretch")
    with pytest.raises(FingerprintMismatchError, match="with the same limit and image options"):
        write_report(replace(known.config, images=stretched))


def test_scores_without_hashes_are_shown_with_a_line_that_says_so(run: Run, capsys) -> None:
    write_report(run.config)
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert "the training images and queries of" in told[0]
    assert "could not be checked" in told[0]


def test_images_whose_hash_is_known_are_not_read_for_it(known: Run, monkeypatch) -> None:
    hashes = {side: identity(known, side) for side in ("train", "query")}
    monkeypatch.setattr(Images, "_hash", lambda _: pytest.fail("was read"))
    write_report(known.config, lambda side: hashes[side])
    hashes["query"] = "another"
    with pytest.raises(FingerprintMismatchError, match="requested 'another'"):
        write_report(known.config, lambda side: hashes[side])
