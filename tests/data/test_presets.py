"""Image options by the name of the script whose they were."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Annotated

import numpy as np
import pytest
import tyro
from PIL import Image

from dtrak_stream.data.images import open_images
from dtrak_stream.data.options import ImageOptions, ImageShape
from dtrak_stream.data.presets import PRESETS
from dtrak_stream.data.query_options import QueryImageOptions
from dtrak_stream.support.configuration import parse
from dtrak_stream.support.provenance import flat_options, record_run


@dataclass(frozen=True)
class Job:
    """A job with images."""

    images: Annotated[ImageOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=ImageOptions)


def parsed(*words: str) -> ImageOptions:
    return parse(Job, words).images


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_its_options_written_out(name):
    words = [f"--{field}={value}" for field, value in PRESETS[name].items()]
    assert parsed("--preset", name) == parsed(*words) == ImageOptions(preset=name)
    assert asdict(parsed("--preset", name)).items() >= PRESETS[name].items()


def test_presets_differ_in_what_their_scripts_differ_in():
    found = {name: ImageOptions(preset=name) for name in PRESETS}
    assert [each.resample for each in found.values()] == ["bilinear", "lanczos", "bilinear"]
    assert [each.exif for each in found.values()] == ["apply", "apply", "ignore"]
    assert {each.image_fit for each in found.values()} == {"crop"}


def test_an_option_that_is_given_wins_even_as_its_default():
    given = parsed("--preset", "d-trak", "--resample", "bicubic", "--exif=apply")
    assert (given.resample, given.exif, given.image_fit) == ("bicubic", "apply", "crop")
    assert ImageOptions(preset="d-trak", resample="bicubic").resample == "bicubic"


def test_what_would_do_nothing_beside_what_is_given_is_left_out():
    given = parsed("--preset", "d-trak", "--image-fit", "exact", "--channels", "exact")
    assert (given.resample, given.alpha, given.exif) == ("bicubic", "white", "ignore")


def test_the_record_of_a_run_holds_what_was_set_and_is_read_back(tmp_path):
    job = parse(Job, ["--preset", "d-trak", "--exif", "apply", "--where", "a=b"])
    record_run(tmp_path / "config.yaml", job)
    assert {"resample": "bilinear", "exif": "apply"}.items() <= flat_options(job).items()
    assert parse(Job, ["--config", str(tmp_path / "config.yaml")]) == job


def test_without_a_preset_nothing_is_set():
    assert asdict(parsed()) == asdict(ImageOptions())
    assert ImageOptions().image_fit == "exact"


def test_queries_have_a_preset_of_their_own():
    train = ImageOptions(image_fit="stretch", center_crop=6, alpha="black", channels="convert")
    query = QueryImageOptions(query_preset="d-trak", query_resample="lanczos").over(
        train, split=None
    )
    expected = {**PRESETS["d-trak"], "resample": "lanczos"}
    assert asdict(query) == asdict(ImageOptions(center_crop=6)) | expected
    assert QueryImageOptions().over(ImageOptions(preset="d-trak"), split=None) == ImageOptions(
        preset="d-trak"
    )


def test_d_trak_resizes_the_shorter_side_and_cuts_the_centre(tmp_path, pixels):
    """As torchvision's Resize(6, BILINEAR), CenterCrop(6) on what Pillow opens as RGB."""
    picture = Image.fromarray(pixels[0]).resize((20, 12))
    picture.save(tmp_path / "a.png")
    small = np.asarray(picture.resize((10, 6), Image.Resampling.BILINEAR))
    found = open_images(
        str(tmp_path), ImageShape(3, 6, 6), ImageOptions(preset="d-trak"), visible=False
    )
    expected = small[:, 2:8].transpose(2, 0, 1) / 127.5 - 1
    assert np.allclose(found.image(0), expected, atol=1e-6)


def test_conditions_may_be_given_together_or_one_by_one():
    together = parsed("--where", "a=b", "c=d")
    assert together.where == ("a=b", "c=d")
    assert parsed("--where", "a=b", "--exif", "ignore", "--where=c=d") == ImageOptions(
        where=("a=b", "c=d"), exif="ignore"
    )
