"""What opens features tells of the model that it loads, once for all sides of a run."""

from __future__ import annotations

from typing import Any, cast

import pytest

from dtrak_stream.data.options import ImageShape
from dtrak_stream.data.samples import CheckLabels, ConditionKind
from dtrak_stream.features.kinds import open_features
from dtrak_stream.planning.calibration import RandomImages
from tests.small_jobs import small_features


def images(shape: ImageShape | None, kind: ConditionKind, _: CheckLabels | None) -> Any:
    return RandomImages(2, shape or ImageShape(1, 8, 8), kind)


@pytest.mark.parametrize("bars", [True, False])
def test_a_loaded_model_is_told_in_one_line_and_a_second_side_tells_nothing(
    model_folder, capsys, bars
):
    options = small_features()
    maker, _ = open_features(model_folder, options, None, images, visible=bars)
    told = capsys.readouterr().err.splitlines()
    assert told == [cast(Any, maker).task.denoiser.description]
    assert told[0].startswith(f"{model_folder}: UNet2DModel of 1x8x8 samples, predicts epsilon")
    again, _ = open_features(model_folder, options, None, images, opened=maker)
    assert again is maker
    assert capsys.readouterr().err == ""


def test_image_features_load_no_model_and_tell_of_none(model_folder, capsys):
    options = small_features(output_function="pixels", timesteps=None, proj_dim=None)
    open_features(model_folder, options, None, images)
    assert capsys.readouterr().err == ""
