"""Stable Diffusion XL is told each image's own size and where it was cut, as in its training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from dtrak_stream.data.images import open_images
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.data.samples import ImageOrigin, SampleBatch, joined, read_batch
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.features.kinds import open_features
from dtrak_stream.features.options import FeatureOptions
from dtrak_stream.gradients.task import GradientTask
from dtrak_stream.model.conditioning import TIME_IDS
from dtrak_stream.model.denoiser import Denoiser
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.model.options import LoadingOptions
from dtrak_stream.model.parameters import choose_parameters
from dtrak_stream.objective.noise import ImageNoise
from dtrak_stream.objective.output_functions import OutputFunction
from tests.conftest import build_unet, save_model
from tests.gradients.networks import assert_rows_close, engine_called, gathered
from tests.model.test_text_to_image import (
    IDS,
    TIMESTEPS,
    UNCUT,
    Family,
    gradients_of_script,
    images,
)
from tests.model.text_pipelines import SIZE, TEXTS, stable_diffusion, stable_diffusion_xl

ORIGINS = (ImageOrigin(40, 24, 5, 0), ImageOrigin(17, 90, 0, 34), ImageOrigin(SIZE, SIZE))
TOLD = ((40, 24, 5, 0, SIZE, SIZE), (17, 90, 0, 34, SIZE, SIZE), UNCUT)
CROP = ImageOptions(image_fit="crop", resample="lanczos")


@pytest.fixture(scope="module")
def xl(tmp_path_factory) -> Family:
    folder = tmp_path_factory.mktemp("xl")
    return Family("sdxl", stable_diffusion_xl(folder), str(folder / "pipeline"))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> str:
    """Captioned images of several sizes; one cannot be read."""
    folder: Path = tmp_path_factory.mktemp("photographs")
    for number, size in enumerate([(24, 40), (90, 17), (16, 16)]):  # (width, height)
        Image.effect_noise(size, 80).convert("RGB").save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"picture {number}")
    (folder / "3.png").write_bytes(b"no picture")
    (folder / "3.txt").write_text("nothing")
    return str(folder)


@pytest.mark.parametrize("kind", ["timestep-batched", "hooked"])
def test_gradients_are_those_of_training_on_images_of_several_sizes(xl, kind):
    denoiser = load_denoiser(xl.folder)
    chosen = choose_parameters(denoiser.network, "all")
    function = OutputFunction("simple", denoiser.schedule)
    task = GradientTask(denoiser, chosen, function, TIMESTEPS, ImageNoise(0))
    found = gathered(engine_called(kind, task), images(), IDS, TEXTS, ORIGINS)
    assert_rows_close(found, gradients_of_script(xl, TEXTS, TOLD))
    uncut = gathered(engine_called(kind, task), images(), IDS, TEXTS)
    assert_rows_close(uncut, gradients_of_script(xl, TEXTS))
    assert (found[0] - uncut[0]).norm() > 1e-3 * uncut[0].norm()


def time_ids(denoiser: Denoiser, samples: SampleBatch) -> torch.Tensor:
    inputs = denoiser.encoded(samples).inputs
    assert inputs is not None
    return inputs[TIME_IDS]


def test_sizes_travel_from_the_file_to_the_network_past_bad_images(xl, photographs):
    denoiser = load_denoiser(xl.folder)
    opened = open_images(
        photographs, denoiser.image_shape, CROP, conditioned_on="caption", visible=False
    )
    parts = [read_batch(opened, rows)[0] for rows in (range(2, 4), range(2))]
    told = time_ids(denoiser, joined(parts))
    # resized to 26 x 16 and 16 x 84, of which the centre is cut
    assert told.tolist() == [
        [16, 16, 0, 0, 16, 16],
        [40, 24, 5, 0, 16, 16],
        [17, 90, 0, 34, 16, 16],
    ]
    assert told.dtype == torch.float32
    always = load_denoiser(xl.folder, LoadingOptions(time_ids="model"))
    assert time_ids(always, joined(parts)).tolist() == [list(UNCUT)] * 3
    assert always.identity != denoiser.identity
    unknown = SampleBatch(tuple(IDS), images(), TEXTS)
    assert time_ids(denoiser, unknown).tolist() == [list(UNCUT)] * 3


def test_sizes_are_kept_with_latents_and_no_image_is_decoded_again(
    xl, photographs, tmp_path, monkeypatch
):
    options = FeatureOptions(timesteps="2", proj_dim=64, device="cpu")
    decoded: list[int] = []

    def opened(cache: Path | None) -> torch.Tensor:
        def images_in(shape, kind, _check):
            found = open_images(photographs, shape, CROP, conditioned_on=kind, visible=False)
            read = found.image_and_origin

            def watched(row):
                decoded.append(row)
                return read(row)

            monkeypatch.setattr(found, "image_and_origin", watched)
            return found

        maker, samples = open_features(
            xl.folder, options, None, images_in, visible=False, cache_latents=cache
        )
        features = maker.features(read_batch(samples, range(4))[0])
        maker.close()
        return features

    plain = opened(None)
    assert decoded == [0, 1, 2, 3]
    first = opened(tmp_path / "kept")
    assert_rows_close(first, plain)  # latents of images are made one at a time
    decoded.clear()
    assert torch.equal(opened(tmp_path / "kept"), first)
    assert decoded == [3]
    (tmp_path / "kept" / "origins.bin").unlink()
    assert torch.equal(opened(tmp_path / "kept"), first)
    assert decoded == [3, 0, 1, 2, 3]


def test_sizes_are_refused_where_a_network_is_told_none(tmp_path):
    stable_diffusion(tmp_path / "sd")
    save_model(tmp_path / "ddpm", build_unet())
    for folder, words in (
        ("sd/pipeline", "--time-ids model: the network is told no sizes"),
        ("ddpm", "--time-ids: not used, a UNet2DModel is told no such thing"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            load_denoiser(str(tmp_path / folder), LoadingOptions(time_ids="model"))
