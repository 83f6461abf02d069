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
