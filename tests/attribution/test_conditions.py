"""The main job of a model that is told class labels, from folders of classes."""

from __future__ import annotations

import dataclasses

import pytest

from dtrak_stream import ConditionOptions
from dtrak_stream.attribution.run import attribute
from dtrak_stream.data.query_options import QueryConditionOptions
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.featurizing.options import FeaturizeConfig
from dtrak_stream.featurizing.run import featurize
from tests.attribution.jobs import job, results_of
from tests.small_jobs import random_pixels, save_images


@pytest.fixture
def config(labelled, tmp_path):
    for name in ("cat", "dog", "owl"):
        save_images(tmp_path / "train" / name, random_pixels(2))
    for name in ("dog", "owl"):
        save_images(tmp_path / "query" / name, random_pixels(1, seed=1))
    return job(labelled, (tmp_path / "train", tmp_path / "query"), tmp_path / "run")


def test_labels_of_queries_must_stand_for_the_classes_of_training_images(config):
    with pytest.raises(ConfigurationError, match=r"label 0 is 'cat' among .* and 'dog' among"):
        attribute(config)
    assert not (config.run / "train" / "shards").exists()


def test_classes_that_are_named_hold_for_queries_too(config):
    named = dataclasses.replace(
        config, condition_options=ConditionOptions(class_names="cat,dog,owl")
    )
    result = attribute(named)
    assert result.path.name == "index.html"
    before = results_of(config.run)
    attribute(named)
    assert results_of(config.run) == before


def test_classes_of_a_finished_store_are_compared_as_well(config):
    train = FeaturizeConfig(
        images=config.train,
        store=config.run / "train",
        model=str(config.model),
        features=config.features,
        execution=config.execution,
        quiet=True,
    )
    featurize(train)
    with pytest.raises(ConfigurationError, match="label 0 is 'cat'"):
        attribute(config)


def test_queries_may_have_their_labels_elsewhere(config, tmp_path):
    lines = ('{"file_name": "dog/000.png", "is": 1}', '{"file_name": "owl/000.png", "is": 2}')
    (tmp_path / "query" / "metadata.jsonl").write_text("\n".join(lines))
    elsewhere = QueryConditionOptions(query_label_column="is")
    result = attribute(dataclasses.replace(config, query_condition_options=elsewhere))
    assert result.scores.exists()
