"""What would make other features is refused by name in a store that was begun."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from dtrak_stream.data.options import ImageOptions
from dtrak_stream.errors import (
    FingerprintMismatchError,
    InputError,
)
from dtrak_stream.featurizing.run import featurize
from tests.conftest import build_unet, save_model
from tests.small_jobs import (
    fingerprint_of,
    random_pixels,
    save_images,
    small_job,
    written_at,
)

OTHER_RUNS = [
    ("output_function", {"output_function": "simple"}),
    ("timesteps", {"timesteps": "list:0,501"}),
    ("timesteps", {"timesteps": "list:500,0"}),
    ("seed", {"seed": 1}),
    ("noise_keying", {"noise": "per-sample"}),
    ("noise_draws", {"noise_draws": 2}),
    ("projector", {"projector": "rademacher"}),
    ("proj_dim", {"proj_dim": 128}),
    ("parameters", {"parameters": "bias"}),
    ("precision", {"precision": "bfloat16"}),
    ("dtype", {"dtype": "float32"}),
    ("rows_per_shard", {"rows_per_shard": 4}),
    ("images", {"limit": 7}),
]


def refused(config, field):
    """Run a job that must be refused for `field`, and must leave its store as it is."""
    before, fingerprint = written_at(config.store), fingerprint_of(config.store)
    with pytest.raises(FingerprintMismatchError) as refusal:
        featurize(config)
    error = refusal.value
    assert error.field == field
    assert error.stored == getattr(fingerprint, field)
    assert error.requested != error.stored
    assert str(error).startswith(f"{config.store}: {field} differs: ")
    assert f"stored {error.stored!r}, requested {error.requested!r}" in str(error)
    assert written_at(config.store) == before
    return error


@pytest.mark.parametrize(("field", "changes"), OTHER_RUNS)
def test_another_run_in_the_same_store_is_refused(model_folder, spoilt, begun, field, changes):
    (begun / "shards" / "00000002.h5").unlink()
    refused(small_job(model_folder, spoilt, begun, **changes), field)


def test_the_refusal_gives_both_values_as_the_user_gave_them(model_folder, spoilt, begun):
    error = refused(small_job(model_folder, spoilt, begun, proj_dim=128), "proj_dim")
    assert (error.stored, error.requested) == (64, 128)


def test_other_weights_are_refused(other_model_folder, spoilt, begun):
    refused(small_job(other_model_folder, spoilt, begun), "weights")


def test_a_model_that_predicts_something_else_is_refused(spoilt, begun, tmp_path):
    model = save_model(tmp_path / "v", build_unet(), "v_prediction")
    error = refused(small_job(model, spoilt, begun), "model")
    assert "epsilon" in error.stored
    assert "v_prediction" in error.requested


def test_another_image_is_refused(model_folder, spoilt, begun, tmp_path):
    changed = Path(shutil.copytree(spoilt, tmp_path / "changed"))
    save_images(changed, random_pixels(1, seed=1), ["002.png"])
    refused(small_job(model_folder, changed, begun), "images")


def test_another_order_is_refused(model_folder, spoilt, begun, tmp_path):
    swapped = Path(shutil.copytree(spoilt, tmp_path / "swapped"))
    (swapped / "000.png").rename(swapped / "x")
    (swapped / "002.png").rename(swapped / "000.png")
    (swapped / "x").rename(swapped / "002.png")
    refused(small_job(model_folder, swapped, begun), "images")


def test_another_way_to_fit_images_is_refused(model_folder, spoilt, begun):
    config = small_job(model_folder, spoilt, begun)
    refused(dataclasses.replace(config, image_options=ImageOptions(image_fit="crop")), "images")


def test_images_that_moved_are_the_same_images(model_folder, spoilt, begun, tmp_path):
    moved = shutil.copytree(spoilt, tmp_path / "moved")
    assert featurize(small_job(model_folder, moved, begun)).computed == 0


def test_a_store_path_that_is_a_file_is_refused(model_folder, spoilt, tmp_path):
    (tmp_path / "s").write_text("precious")
    with pytest.raises(InputError, match=r"s: .*not a folder"):
        featurize(small_job(model_folder, spoilt, tmp_path / "s"))
    assert (tmp_path / "s").read_text() == "precious"
