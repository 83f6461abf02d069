"""Queries are read as training images are, but for what is said of them."""

import pytest

from dtrak_stream.data.options import ImageOptions
from dtrak_stream.data.query_options import QueryImageOptions
from dtrak_stream.errors import ConfigurationError

TRAIN = ImageOptions(image_fit="crop", channels="convert", alpha="drop", split="train")


def test_queries_are_read_like_training_images_but_for_their_split():
    usual = QueryImageOptions().over(TRAIN, split=None)
    assert usual == ImageOptions(image_fit="crop", channels="convert", alpha="drop", split=None)
    assert QueryImageOptions().over(TRAIN, split="test").split == "test"


def test_what_is_said_of_queries_comes_first():
    others = QueryImageOptions(
        query_image_fit="stretch",
        query_center_crop=5,
        query_channels="convert",
        query_alpha="black",
        query_resample="lanczos",
        query_exif="ignore",
        query_depth16="scale",
        query_float_range="unit",
    )
    assert others.over(TRAIN, split=None) == ImageOptions(
        image_fit="stretch",
        center_crop=5,
        channels="convert",
        alpha="black",
        resample="lanczos",
        exif="ignore",
        depth16="scale",
        float_range="unit",
    )


def test_what_is_left_must_make_sense_together():
    with pytest.raises(ConfigurationError, match="--channels convert"):
        QueryImageOptions(query_channels="exact").over(TRAIN, split=None)


def test_rows_of_training_images_are_not_those_of_queries(tmp_path):
    picked = ImageOptions(where=("split=train",), rows=tmp_path, path_column="file")
    assert QueryImageOptions().over(picked, split=None) == ImageOptions(path_column="file")
    others = QueryImageOptions(
        query_where=("split=test",), query_rows=tmp_path / "q", query_path_column="name"
    )
    assert others.over(picked, split=None) == ImageOptions(
        where=("split=test",), rows=tmp_path / "q", path_column="name"
    )


def test_a_condition_on_queries_is_refused_by_its_own_flag():
    with pytest.raises(ConfigurationError, match="--query-where artist: is no condition"):
        QueryImageOptions(query_where=("artist",))
