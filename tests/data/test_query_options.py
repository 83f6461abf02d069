"""Queries are read as training images are, but for what is said of them."""

import pytest

from dtrak_stream.data.condition_options import ConditionOptions
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.data.query_options import QueryConditionOptions, QueryImageOptions
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


TEMPLATED = ConditionOptions(
    caption_template="a {label}", missing_captions="", label_column="style"
)


def test_queries_are_of_what_training_images_are_of_unless_it_is_said():
    assert QueryConditionOptions().over(TEMPLATED) == TEMPLATED
    others = QueryConditionOptions(query_label_column="class", query_missing_captions="x")
    assert others.over(TEMPLATED) == ConditionOptions(
        caption_template="a {label}", missing_captions="x", label_column="class"
    )


def test_captions_of_queries_take_the_place_of_those_of_training_images():
    column = QueryConditionOptions(query_caption_column="text").over(TEMPLATED)
    assert (column.caption_column, column.caption_template) == ("text", None)
    dropped = QueryConditionOptions(query_drop_captions="yes").over(TEMPLATED)
    assert dropped == ConditionOptions(drop_captions=True, label_column="style")
    kept = QueryConditionOptions(query_drop_captions="no")
    assert kept.over(dropped) == ConditionOptions(label_column="style")
    assert kept.over(TEMPLATED) == TEMPLATED
    with pytest.raises(ConfigurationError, match="--caption-column, --drop-captions"):
        QueryConditionOptions(query_drop_captions="yes", query_caption_column="text").over(
            TEMPLATED
        )
