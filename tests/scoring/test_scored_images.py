"""Scores keep which images they are of, and other images with the same names are refused."""

import dataclasses
import shutil

import pytest

from dtrak_stream.errors import FingerprintMismatchError
from dtrak_stream.scoring.run import score
from dtrak_stream.scoring.scored_images import ComparedImages, images_of, refuse_other_images
from dtrak_stream.scoring.scores_file import ScoresFile
from dtrak_stream.store.fingerprint import IMPORTED
from dtrak_stream.store.layout import StoreLayout
from dtrak_stream.store.shard import write_shard
from tests.evaluation.synthetic import scores_of
from tests.scoring.conftest import attribution_of, whole_numbers


@pytest.fixture
def scores(tmp_path):
    path = scores_of(tmp_path / "scores.h5", whole_numbers(2, 5), train_images="ours")
    with ScoresFile(path) as opened:
        yield opened


def compared(side="train", identity=lambda: "ours", **changes):
    return ComparedImages(side, "images/", "give the others", identity, **changes)


def test_the_hashes_of_both_stores_are_kept(small):
    with ScoresFile(small.score().path) as scores:
        assert (scores.images("train"), scores.images("query")) == ("train", "query")


def test_the_same_images_pass_without_a_word(scores, capsys):
    refuse_other_images(scores, [compared(count=5), compared(shape="1x8x8")])
    assert capsys.readouterr().err == ""


def test_other_images_are_refused_with_both_hashes(scores):
    with pytest.raises(FingerprintMismatchError) as refusal:
        refuse_other_images(scores, [compared(identity=lambda: "theirs")])
    assert (refusal.value.stored, refusal.value.requested) == ("ours", "theirs")
    assert str(refusal.value).startswith("images/: hash of the training images")
    assert str(refusal.value).endswith("; give the others")


def test_another_number_of_images_is_refused_by_the_numbers(scores):
    with pytest.raises(FingerprintMismatchError, match=r"number of training images differs: .* 5,"):
        refuse_other_images(scores, [compared(count=4)])


@pytest.mark.parametrize(
    "images",
    [
        compared("query"),
        compared(identity=lambda: None),
        compared(shape="3x8x8", identity=lambda: "brought to another shape"),
    ],
)
def test_what_cannot_be_compared_is_told_in_a_line(scores, images, capsys):
    refuse_other_images(scores, [compared(), images])
    told = capsys.readouterr().err.splitlines()
    role = "queries" if images.side == "query" else "training images"
    assert told == [
        f"note: that the {role} of {scores.path} are those of images/ could not be checked "
        "by their contents"
    ]


def test_images_that_could_not_be_compared_anyway_are_not_read(scores):
    refuse_other_images(scores, [compared("query", identity=lambda: pytest.fail("was read"))])


def test_scores_of_imported_features_are_compared_by_pictures_of_any_shape(tmp_path, capsys):
    path = scores_of(tmp_path / "scores.h5", whole_numbers(2, 5), train_images="files:ours")
    unread = {"identity": lambda: pytest.fail("was read"), "shape": "3x8x8"}
    with ScoresFile(path) as scores:
        refuse_other_images(scores, [compared(pictures=lambda: "files:ours", **unread)])
        assert capsys.readouterr().err == ""
        with pytest.raises(FingerprintMismatchError, match="theirs"):
            refuse_other_images(scores, [compared(pictures=lambda: "files:theirs", **unread)])
        for pictures in (None, lambda: "arrays:theirs"):
            refuse_other_images(scores, [compared(pictures=pictures, **unread)])
            assert "could not be checked" in capsys.readouterr().err


def test_imported_features_tell_their_images_where_these_are_known(small):
    fingerprint = dataclasses.replace(small.train.fingerprint, weights=IMPORTED)
    assert images_of(small.train.layout) == "train"
    layout = StoreLayout(small.train.layout.root, fingerprint)
    assert images_of(layout) == ""
    layout.write_run_record({"pictures": "files:ours"})
    assert images_of(layout) == "files:ours"


def test_models_that_were_given_other_images_with_the_same_names_are_refused(tmp_path):
    run = attribution_of(tmp_path, whole_numbers(6, 4), whole_numbers(2, 4))
    other = tmp_path / "other"
    shutil.copytree(run.train.layout.root, other)
    fingerprint = dataclasses.replace(run.train.fingerprint, images="theirs")
    layout = StoreLayout(other, fingerprint)
    layout.write_run_record({})
    for shard in range(layout.num_shards):
        rows = run.train.shard(shard)
        contents = dataclasses.replace(rows, features=rows.features.copy())
        layout.shard_path(shard).unlink()
        write_shard(layout.shard_path(shard), contents, fingerprint.hash())
    both = dataclasses.replace(
        run.config(method="gradient-dot"),
        train=(run.train.layout.root, other),
        query=(run.query.layout.root, run.query.layout.root),
        gram=None,
    )
    with pytest.raises(FingerprintMismatchError, match="hash of the images differs: stored 'train"):
        score(both)
