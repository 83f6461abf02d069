"""Training images and queries of one data set, each with its split."""

from __future__ import annotations

from dtrak_stream.attribution.configuration import AttributeConfig
from dtrak_stream.attribution.plan import make_plan
from dtrak_stream.data.options import ImageOptions


def test_each_side_has_its_split():
    options = ImageOptions(image_fit="crop", split="train")
    plan = make_plan(AttributeConfig(image_options=options, query_split="test"))
    (model,) = plan.models
    assert model.train.image_options == plan.report.images == options
    expected = ImageOptions(image_fit="crop", split="test")
    assert model.query.image_options == plan.report.query_images == expected


def test_the_split_of_training_images_is_not_that_of_queries():
    plan = make_plan(AttributeConfig(image_options=ImageOptions(split="validation")))
    assert plan.models[0].query.image_options.split is None
    assert plan.report.query_images.split is None
