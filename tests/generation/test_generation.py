"""Generation: an image depends on its seed and number, and on nothing else."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel
from PIL import Image

from dtrak_stream.data import ImageShape, open_images
from dtrak_stream.data.trajectories import TrajectoryFolder
from dtrak_stream.errors import (
    ConfigurationError,
    FingerprintMismatchError,
    InputError,
    InterruptedRunError,
    ModelError,
)
from dtrak_stream.generation import GenerationConfig, Sampler, generate
from dtrak_stream.model.loading import load_denoiser


def save_model(folder: Path, *, channels: int = 1, size: tuple[int, int] = (8, 8)) -> str:
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=size,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(8,),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
    )
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return save_model(tmp_path_factory.mktemp("model"))


def config_of(model: str, out: Path, **changes) -> GenerationConfig:
    config = GenerationConfig(model=model, out=out, count=5, steps=4, batch_size=4, device="cpu")
    return dataclasses.replace(config, **changes)


def made(config: GenerationConfig) -> dict[str, bytes]:
    """Return the bytes of every image by its name."""
    generate(config, visible=False)
    return {path.name: path.read_bytes() for path in sorted(config.out.rglob("*.png"))}


SAMPLERS: list[dict[str, Any]] = [
    {"sampler": "ddim"},
    {"sampler": "ddim", "eta": 0.7},
    {"sampler": "ddpm"},
]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_image_is_the_same_however_many_are_made(model, tmp_path, sampler):
    five = made(config_of(model, tmp_path / "five", **sampler))
    two = made(config_of(model, tmp_path / "two", count=2, **sampler))
    assert list(five) == [f"0000{i}.png" for i in range(5)]
    assert two == {name: five[name] for name in ("00000.png", "00001.png")}
    assert len(set(five.values())) == 5


def test_batch_size_changes_last_bits_only(model):
    # convolutions add in another order for another batch size, so the last bits may differ
    denoiser = load_denoiser(model)
    sampler = Sampler(denoiser, "ddpm", steps=4, eta=0.0, seed=0)
    together = sampler.sample(range(5))
    alone = torch.cat([sampler.sample(range(number, number + 1)) for number in range(5)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_deleted_images_are_made_again_with_the_same_bytes(model, tmp_path):
    config = config_of(model, tmp_path, float_images=False)
    before = made(config)
    kept = (tmp_path / "00000.png").stat().st_mtime_ns
    for number in (2, 4):
        (tmp_path / f"0000{number}.png").unlink()
    assert made(config) == before
    assert (tmp_path / "00000.png").stat().st_mtime_ns == kept


def test_interrupted_run_continues_with_the_same_bytes(model, tmp_path, monkeypatch):
    whole = config_of(model, tmp_path / "whole", float_images=True)
    expected = made(whole)
    config = config_of(model, tmp_path / "stopped", float_images=True)
    sample = Sampler.sample

    def stopping(self, numbers):
        if numbers.start == 4:
            raise KeyboardInterrupt
        return sample(self, numbers)

    with monkeypatch.context() as patch:
        patch.setattr(Sampler, "sample", stopping)
        with pytest.raises(InterruptedRunError, match="4 of 5 images are saved"):
            generate(config, visible=False)
    assert made(config) == expected
    assert (config.out / "images.npy").read_bytes() == (whole.out / "images.npy").read_bytes()
    assert not (config.out / "float_images").exists()


def test_seed_and_sampler_decide_the_images(model, tmp_path):
    runs: list[dict[str, Any]] = [{"seed": 0}, {"seed": 1}, *SAMPLERS[1:]]
    images = [
        made(config_of(model, tmp_path / str(n), **changes)) for n, changes in enumerate(runs)
    ]
    for number, first in enumerate(images):
        for second in images[number + 1 :]:
            assert not set(first.values()) & set(second.values())


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_images_are_those_of_the_diffusers_pipeline(model, sampler):
    kind, eta = sampler["sampler"], sampler.get("eta", 0.0)
    ours = Sampler(load_denoiser(model), kind, 4, eta, seed=3)
    generators = [ours._generator(number) for number in range(3)]
    unet = UNet2DModel.from_pretrained(model, subfolder="unet", use_safetensors=True).eval()
    if kind == "ddim":
        ddim = DDIMPipeline(unet, DDIMScheduler.from_pretrained(model, subfolder="scheduler"))
        ddim.set_progress_bar_config(disable=True)
        theirs = ddim(
            3, generator=generators, eta=eta, num_inference_steps=4, output_type="np"
        ).images
    else:
        ddpm = DDPMPipeline(unet, DDPMScheduler.from_pretrained(model, subfolder="scheduler"))
        ddpm.set_progress_bar_config(disable=True)
        theirs = ddpm(3, generator=generators, num_inference_steps=4, output_type="np").images
    found = (ours.sample(range(3)).permute(0, 2, 3, 1).numpy() + 1) / 2
    np.testing.assert_allclose(found, theirs, rtol=0, atol=1e-6)


def test_float_images_are_the_images_before_rounding(model, tmp_path):
    generate(config_of(model, tmp_path, float_images=True), visible=False)
    floats = np.load(tmp_path / "images.npy")
    assert (floats.shape, floats.dtype) == ((5, 8, 8, 1), np.float32)
    assert np.abs(floats).max() <= 1
    rounded = open_images(f"{tmp_path}", visible=False)
    for number in range(5):
        difference = rounded.image(number).permute(1, 2, 0).numpy() - floats[number]
        assert np.abs(difference).max() <= 1 / 255 + 1e-6
        assert np.abs(difference).max() > 0


def test_more_images_can_be_added(model, tmp_path):
    config = config_of(model, tmp_path / "grown", count=2, float_images=True)
    made(config)
    grown = made(dataclasses.replace(config, count=5))
    whole = config_of(model, tmp_path / "whole", float_images=True)
    assert grown == made(whole)
    assert (config.out / "images.npy").read_bytes() == (whole.out / "images.npy").read_bytes()


def test_float_images_can_be_asked_for_later(model, tmp_path):
    config = config_of(model, tmp_path)
    before = made(config)
    assert made(dataclasses.replace(config, float_images=True)) == before
    assert np.load(tmp_path / "images.npy").shape == (5, 8, 8, 1)


def test_rgb_images_that_are_not_square(tmp_path):
    model = save_model(tmp_path / "model", channels=3, size=(4, 6))
    config = config_of(model, tmp_path / "out", count=1, float_images=True)
    made(config)
    with Image.open(config.out / "00000.png") as image:
        assert (image.mode, image.size) == ("RGB", (6, 4))
        pixels = np.asarray(image)
    floats = np.load(config.out / "images.npy")[0]  # (H, W, C)
    assert np.abs(pixels / 127.5 - 1 - floats).max() <= 1 / 255 + 1e-6


@pytest.fixture
def small_folders(monkeypatch):
    monkeypatch.setattr("dtrak_stream.data.numbered_files.FILES_PER_FOLDER", 2)


def test_many_images_lie_in_subfolders_in_the_order_of_their_numbers(
    model, tmp_path, small_folders
):
    config = config_of(model, tmp_path, count=5, save_trajectory=True, float_images=True)
    generate(config, visible=False)
    expected = ["00000.png", "00001.png", "00002/00002.png", "00002/00003.png", "00004/00004.png"]
    images = open_images(str(tmp_path), ImageShape(1, 8, 8), visible=False)
    assert images.sample_ids(0, len(images)) == expected
    floats = np.load(tmp_path / "images.npy")  # (5, 8, 8, 1)
    for number, sample_id in enumerate(expected):
        image = images.image(number)
        assert np.abs(image[0].numpy() - floats[number, ..., 0]).max() <= 1 / 255 + 1e-6
        timesteps, predicted = TrajectoryFolder(tmp_path).predictions(sample_id, image)
        assert len(timesteps) == len(predicted) == 4


def test_subfolders_go_on_where_they_were_interrupted(model, tmp_path, small_folders):
    config = config_of(model, tmp_path / "one", count=5)
    whole = made(config)
    for number in (0, 3):
        next(config.out.rglob(f"{number:05d}.png")).unlink()
    assert made(config) == whole
    assert made(dataclasses.replace(config, count=6)).keys() > whole.keys()


@pytest.mark.parametrize("lost", [[2], [4], [2, 3]])
def test_a_folder_begun_flat_stays_flat_whichever_file_is_lost(model, tmp_path, monkeypatch, lost):
    config = config_of(model, tmp_path / "one", count=5, save_trajectory=True)
    whole = made(config)
    monkeypatch.setattr("dtrak_stream.data.numbered_files.FILES_PER_FOLDER", 2)
    for number in lost:
        (config.out / f"{number:05d}.png").unlink()
        (config.out / "trajectory" / f"{number:05d}.npz").unlink()
    assert made(config) == whole
    assert not [*config.out.rglob("0000[0-9]/")]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"seed": 1}, "seed"),
        ({"steps": 5}, "steps"),
        ({"sampler": "ddpm"}, "sampler"),
        ({"eta": 0.5}, "eta"),
        ({"count": 4}, "count"),
    ],
)
def test_another_run_in_the_same_folder_is_refused(model, tmp_path, changes, field):
    config = config_of(model, tmp_path)
    generate(config, visible=False)
    with pytest.raises(FingerprintMismatchError, match=r"stored .* requested") as refused:
        generate(dataclasses.replace(config, **changes), visible=False)
    assert refused.value.field == field


def test_another_model_is_refused(model, tmp_path):
    generate(config_of(model, tmp_path / "out"), visible=False)
    other = shutil.copytree(model, tmp_path / "other")
    unet = UNet2DModel.from_pretrained(other, subfolder="unet")
    torch.nn.init.zeros_(unet.conv_in.bias[:1])
    unet.save_pretrained(other / "unet")
    with pytest.raises(FingerprintMismatchError, match="weights differs"):
        generate(config_of(str(other), tmp_path / "out"), visible=False)


def test_folder_with_foreign_images_is_refused(model, tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "photo.png")
    with pytest.raises(InputError, match="did not make"):
        generate(config_of(model, tmp_path), visible=False)


def test_missing_model_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"gone: no such folder"):
        generate(config_of(str(tmp_path / "gone"), tmp_path / "out"), visible=False)
    assert not (tmp_path / "out").exists()


def test_model_without_safetensors_is_refused(model, tmp_path):
    bare = shutil.copytree(model, tmp_path / "bare")
    (bare / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ModelError, match="safetensors"):
        generate(config_of(str(bare), tmp_path / "out"), visible=False)


def test_model_that_gives_nan_is_refused(model, tmp_path):
    broken = shutil.copytree(model, tmp_path / "broken")
    unet = UNet2DModel.from_pretrained(broken, subfolder="unet")
    torch.nn.init.constant_(unet.conv_out.bias, float("nan"))
    unet.save_pretrained(broken / "unet")
    with pytest.raises(ModelError, match="not finite"):
        generate(config_of(str(broken), tmp_path / "out"), visible=False)
    assert not list((tmp_path / "out").glob("*.png"))


def test_channels_that_png_cannot_hold_are_refused(tmp_path):
    model = save_model(tmp_path / "model", channels=2)
    with pytest.raises(ModelError, match="2x8x8"):
        generate(config_of(model, tmp_path / "out"), visible=False)


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({"count": 0}, "--count"),
        ({"steps": 0}, "--steps"),
        ({"seed": -1}, "--seed"),
        ({"batch_size": 0}, "--batch-size"),
        ({"eta": 1.5}, "--eta"),
        ({"eta": 0.5, "sampler": "ddpm"}, "--eta"),
        ({"steps": 1001}, "--steps"),
    ],
)
def test_unsupported_option_is_refused_by_its_flag(model, tmp_path, changes, flag):
    with pytest.raises(ConfigurationError, match=flag):
        generate(config_of(model, tmp_path / "out", **changes), visible=False)


def test_embedded_model_generates_digits(tmp_path):
    """Nearly every image is as near to a training image as a held-out digit is."""
    config = config_of("embedded:digits_ddpm", tmp_path, count=16, steps=20, batch_size=16)
    generate(dataclasses.replace(config, float_images=True), visible=False)
    images = np.load(tmp_path / "images.npy").reshape(16, 64)
    digits = open_images("sklearn:digits", limit=1000, visible=False)
    known = torch.stack([digits.image(i) for i in range(1000)]).reshape(1000, 64)
    nearest = torch.cdist(torch.from_numpy(images), known).min(dim=1).values
    assert nearest.median() < 3
