"""Training: the same bytes however it was interrupted, and clear refusals."""

import dataclasses
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline, UNet2DModel
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from dtrak_stream.cli.command_line import EXIT_QUARANTINED, run
from dtrak_stream.data import Images, ImageShape, open_images
from dtrak_stream.errors import (
    ConfigurationError,
    CorruptFileError,
    FingerprintMismatchError,
    InputError,
    InterruptedRunError,
    ModelError,
)
from dtrak_stream.model.loading import load_denoiser
from dtrak_stream.model.schedule import DDPMSchedule
from dtrak_stream.support.configuration import parse
from dtrak_stream.training import (
    ArchitectureOptions,
    NoiseScheduleOptions,
    OptimisationOptions,
    TrainingConfig,
    train,
)
from dtrak_stream.training.batches import ImageBatches
from dtrak_stream.training.optimisation import Optimisation, build_network

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
TINY = ArchitectureOptions(
    block_out_channels=(8,), layers_per_block=1, attention_levels=(), norm_num_groups=4
)
EVERYTHING = ArchitectureOptions(
    block_out_channels=(8, 8),
    layers_per_block=1,
    attention_levels=(1,),
    norm_num_groups=4,
    time_scale_shift="scale_shift",
    dropout=0.2,
)


_OPTIMISATION = {field.name for field in dataclasses.fields(OptimisationOptions)}


@pytest.fixture(autouse=True)
def one_thread():
    """Other numbers of threads add in another order; a subprocess must have the same."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tiny(out: Path, **changes) -> TrainingConfig:
    """Four steps an epoch, three epochs, a checkpoint after each epoch."""
    options: dict[str, Any] = {"epochs": 3, "batch_size": 8, "learning_rate": 1e-3}
    options |= {name: changes.pop(name) for name in list(changes) if name in _OPTIMISATION}
    config = TrainingConfig(
        images="sklearn:digits[0:28]",
        out=out,
        checkpoint_every=1,
        device="cpu",
        architecture=TINY,
        optimisation=OptimisationOptions(**options),
    )
    return dataclasses.replace(config, **changes)


def trained_bytes(config: TrainingConfig) -> bytes:
    train(config, visible=False)
    return (config.out / WEIGHTS).read_bytes()


def crash_at(monkeypatch, step: int, crash) -> None:
    """Call `crash` when the images of `step` (counted from 0) are asked for."""
    batch = ImageBatches.batch

    def crashing(self, number):
        if number == step:
            crash()
        return batch(self, number)

    monkeypatch.setattr(ImageBatches, "batch", crashing)


def power_cut() -> None:
    raise RuntimeError("power cut")


@pytest.fixture(scope="module")
def everything() -> dict[str, Any]:
    return {"architecture": EVERYTHING, "flip": True, "ema": True}


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory, everything) -> bytes:
    """Return what an uninterrupted run with everything switched on ends with."""
    torch.set_num_threads(1)
    return trained_bytes(tiny(tmp_path_factory.mktemp("whole"), **everything))


@pytest.mark.parametrize("step", [0, 4, 7, 11])
def test_crash_and_restart_give_the_same_bytes(tmp_path, monkeypatch, everything, whole_run, step):
    config = tiny(tmp_path / "crashed", **everything)
    with monkeypatch.context() as patch:
        crash_at(patch, step, power_cut)
        with pytest.raises(RuntimeError, match="power cut"):
            train(config, visible=False)
    assert trained_bytes(config) == whole_run


def test_kill_9_and_restart_give_the_same_bytes(tmp_path):
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "import torch\n"
        "from dtrak_stream.training import batches, train\n"
        "from tests.training.test_training import tiny\n"
        "batch = batches.ImageBatches.batch\n"
        "def dying(self, step):\n"
        "    if step == 6:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return batch(self, step)\n"
        "batches.ImageBatches.batch = dying\n"
        "torch.set_num_threads(1)\n"
        "train(tiny(Path(sys.argv[1])), visible=False)\n"
    )
    config = tiny(tmp_path / "killed")
    root = Path(__file__).parents[2]
    killed = subprocess.run([sys.executable, "-c", script, config.out], cwd=root, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (config.out / "checkpoint" / "state.pt").is_file()
    assert not (config.out / "model_index.json").exists()
    assert trained_bytes(config) == trained_bytes(tiny(tmp_path / "whole"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_the_step_it_arrived_in(tmp_path, monkeypatch, number):
    config = tiny(tmp_path / "stopped")
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        crash_at(patch, 5, lambda: signal.raise_signal(number))
        with pytest.raises(InterruptedRunError, match="6 of 12 steps are saved"):
            train(config, visible=False)
    assert signal.getsignal(number) is before
    steps: Counter = Counter()
    step = Optimisation.step

    def counting(self, *arguments, **options):
        steps["taken"] += 1
        return step(self, *arguments, **options)

    monkeypatch.setattr(Optimisation, "step", counting)
    resumed = trained_bytes(config)
    assert steps["taken"] == 6
    assert resumed == trained_bytes(tiny(tmp_path / "whole"))


def test_second_ctrl_c_stops_at_once(tmp_path, monkeypatch):
    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    crash_at(monkeypatch, 5, twice)
    with pytest.raises(KeyboardInterrupt) as stopped:
        train(tiny(tmp_path), visible=False)
    assert not isinstance(stopped.value, InterruptedRunError)


def test_seed_decides_the_bytes(tmp_path):
    first = trained_bytes(tiny(tmp_path / "first", seed=1))
    torch.manual_seed(99)
    assert trained_bytes(tiny(tmp_path / "again", seed=1)) == first
    assert trained_bytes(tiny(tmp_path / "other", seed=2)) != first


def test_callers_random_state_is_left_alone(tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(tiny(tmp_path), visible=False)
    assert torch.equal(torch.rand(3), expected)


@pytest.fixture(scope="module")
def begun_and_finished(tmp_path_factory) -> tuple[Path, Path]:
    begun, finished = tmp_path_factory.mktemp("begun"), tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        crash_at(patch, 1, power_cut)
        with pytest.raises(RuntimeError, match="power cut"):
            train(tiny(begun), visible=False)
    train(tiny(finished), visible=False)
    return begun, finished


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"learning_rate": 2e-3}, "learning-rate"),
        ({"seed": 1}, "seed"),
        ({"architecture": EVERYTHING}, "attention-levels"),
        ({"epochs": 4}, "epochs"),
        ({"images": "sklearn:digits[1:29]"}, "image-identity"),
        ({"ema": True}, "ema"),
    ],
)
def test_another_run_in_the_same_folder_is_refused(begun_and_finished, changes, field):
    for folder in begun_and_finished:
        with pytest.raises(FingerprintMismatchError, match=r"stored .* requested") as refused:
            train(tiny(folder, **changes), visible=False)
        assert refused.value.field == field
        assert refused.value.stored != refused.value.requested


def test_finished_run_is_not_done_again(tmp_path, monkeypatch):
    config = tiny(tmp_path)
    trained_bytes(config)
    crash_at(monkeypatch, 0, power_cut)
    assert train(config, visible=False).path == tmp_path
    assert not (tmp_path / "checkpoint").exists()


def test_folder_with_a_foreign_model_is_refused(tmp_path):
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(InputError, match="did not train"):
        train(tiny(tmp_path), visible=False)


def test_flipped_byte_in_the_checkpoint_is_refused(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        crash_at(patch, 5, power_cut)
        with pytest.raises(RuntimeError):
            train(tiny(tmp_path), visible=False)
    checkpoint = tmp_path / "checkpoint" / "state.pt"
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 1
    checkpoint.write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"state\.pt"):
        train(tiny(tmp_path), visible=False)


def test_saved_folder_is_what_diffusers_would_save(tmp_path):
    train(tiny(tmp_path / "ours", architecture=EVERYTHING), visible=False)
    pipeline = DDPMPipeline.from_pretrained(tmp_path / "ours", use_safetensors=True)
    pipeline.save_pretrained(tmp_path / "theirs")
    theirs = [path for path in (tmp_path / "theirs").rglob("*") if path.is_file()]
    assert len(theirs) == 4
    for path in theirs:
        ours = tmp_path / "ours" / path.relative_to(tmp_path / "theirs")
        if path.suffix == ".safetensors":
            assert ours.read_bytes() == path.read_bytes()
        else:  # diffusers adds the name of the folder it loaded from
            lines = [line for line in path.read_text().splitlines() if "_name_or_path" not in line]
            assert ours.read_text().splitlines() == lines
    assert load_denoiser(str(tmp_path / "ours")).image_shape == ImageShape(1, 8, 8)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_network_learns_what_the_scheduler_says(tmp_path, prediction_type):
    np.save(tmp_path / "flat.npy", np.full((8, 4, 4), 255, np.uint8))
    config = tiny(
        tmp_path / "out",
        images=str(tmp_path / "flat.npy"),
        steps=60,
        learning_rate=2e-2,
        noise_schedule=NoiseScheduleOptions(prediction_type=prediction_type),
    )
    train(config, visible=False)
    denoiser = load_denoiser(str(config.out))
    assert f"predicting {prediction_type}," in denoiser.schedule.identity
    image, noise = torch.ones(32, 1, 4, 4), torch.randn(32, 1, 4, 4)
    timesteps = torch.arange(100, 900, 25)
    noisy, target = denoiser.schedule.noisy_and_target(image, noise, timesteps)
    with torch.no_grad():
        error = (denoiser.predict(noisy, timesteps) - target).square().mean()
    assert error < 0.25 * target.square().mean()


def test_averaged_weights_are_saved_only_if_asked_for(tmp_path):
    last = trained_bytes(tiny(tmp_path / "last"))
    slow = trained_bytes(tiny(tmp_path / "slow", ema=True))
    no_memory = trained_bytes(tiny(tmp_path / "none", ema=True, ema_decay=0.0))
    assert slow != last
    assert no_memory == last


def test_dropout_reaches_every_dropout_layer():
    network = build_network(EVERYTHING, ImageShape(1, 8, 8))
    layers = [module for module in network.modules() if isinstance(module, nn.Dropout)]
    assert len(layers) > 4
    assert {layer.p for layer in layers} == {0.2}


def test_images_that_are_not_square_are_trained_on(tmp_path):
    np.save(tmp_path / "wide.npy", np.zeros((9, 4, 6, 3), np.uint8))
    config = tiny(tmp_path / "out", images=str(tmp_path / "wide.npy"), architecture=EVERYTHING)
    train(config, visible=False)
    assert load_denoiser(str(config.out)).image_shape == ImageShape(3, 4, 6)


def folder_with_bad_images(folder: Path, bad: set[int]) -> Path:
    folder.mkdir()
    for number in range(12):
        path = folder / f"{number:02d}.png"
        Image.new("L", (8, 8), number * 20).save(path)
        if number in bad:
            path.write_bytes(path.read_bytes()[:40])
    return folder


def test_bad_images_are_left_out_and_listed(tmp_path):
    images = folder_with_bad_images(tmp_path / "images", {3, 7})
    config = tiny(tmp_path / "out", images=str(images))
    assert train(config, visible=False).quarantined == 2
    lines = (config.out / "quarantine.jsonl").read_text().splitlines()
    assert ["03.png" in lines[0], "07.png" in lines[1]] == [True, True]


def test_bad_images_do_not_change_a_resumed_run(tmp_path, monkeypatch):
    images = str(folder_with_bad_images(tmp_path / "images", {0, 1, 2, 3}))
    changes = {"images": images, "batch_size": 2}
    whole = trained_bytes(tiny(tmp_path / "whole", **changes))
    config = tiny(tmp_path / "stopped", **changes)
    with monkeypatch.context() as patch:
        crash_at(patch, 14, lambda: signal.raise_signal(signal.SIGINT))
        with pytest.raises(InterruptedRunError):
            train(config, visible=False)
    assert train(config, visible=False).quarantined == 4
    assert (config.out / WEIGHTS).read_bytes() == whole


def test_quarantine_sets_the_exit_code(tmp_path, capsys):
    images = folder_with_bad_images(tmp_path / "images", {3})
    arguments = f"--images {images} --out {tmp_path / 'out'} --steps 2 --layers-per-block 1"
    arguments += " --block-out-channels 8 --norm-num-groups 4 --attention-levels"
    with pytest.raises(SystemExit) as ended:
        run(TrainingConfig, train, arguments.split())
    assert ended.value.code == EXIT_QUARANTINED
    assert capsys.readouterr().out.strip() == str(tmp_path / "out")


def test_subset_of_bad_images_only_is_refused(tmp_path):
    images = folder_with_bad_images(tmp_path / "images", {3, 7})
    np.save(tmp_path / "subset.npy", [3, 7])
    with pytest.raises(InputError, match="none of the 2 images"):
        train(
            tiny(tmp_path / "out", images=str(images), subset=tmp_path / "subset.npy"),
            visible=False,
        )


def test_subset_is_all_that_is_trained_on(tmp_path, monkeypatch):
    seen: Counter = Counter()
    image = Images.image
    monkeypatch.setattr(Images, "image", lambda self, i: seen.update([i]) or image(self, i))
    np.save(tmp_path / "subset.npy", [20, 3, 9])
    train(tiny(tmp_path / "out", subset=tmp_path / "subset.npy"), visible=False)
    assert set(seen) == {3, 9, 20}


@pytest.mark.parametrize("numbers", [[0, 28], [-1], [1, 1], [0.5], [], [[1]]])
def test_bad_subset_is_refused(tmp_path, numbers):
    np.save(tmp_path / "subset.npy", numbers)
    with pytest.raises(InputError, match=r"from 0 to 27"):
        train(tiny(tmp_path / "out", subset=tmp_path / "subset.npy"), visible=False)


def test_missing_subset_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"gone\.npy"):
        train(tiny(tmp_path / "out", subset=tmp_path / "gone.npy"), visible=False)


def test_decoded_images_are_kept_within_the_memory_given(tmp_path, monkeypatch):
    decoded: Counter = Counter()
    image = Images.image
    monkeypatch.setattr(Images, "image", lambda self, i: decoded.update([i]) or image(self, i))
    kept = trained_bytes(tiny(tmp_path / "kept"))
    assert set(decoded.values()) == {1}
    decoded.clear()
    not_kept = trained_bytes(tiny(tmp_path / "not_kept", image_cache_mib=0))
    assert set(decoded.values()) == {3}
    assert not_kept == kept


@settings(max_examples=20, deadline=None)
@given(count=st.integers(1, 30), batch_size=st.integers(1, 35), epoch=st.integers(0, 3))
def test_each_epoch_has_every_image_once(count, batch_size, epoch):
    images = open_images(f"sklearn:digits[0:{count}]", visible=False)
    batches = ImageBatches(images, np.arange(count), batch_size, seed=3, cache_bytes=2**20)
    first = epoch * batches.steps_per_epoch
    parts = [batches.batch(first + step) for step in range(batches.steps_per_epoch)]
    seen = torch.cat([part for part in parts if part is not None])
    expected = torch.stack([images.image(number) for number in range(count)])
    assert sorted(map(str, seen.tolist())) == sorted(map(str, expected.tolist()))


def test_order_is_another_in_each_epoch():
    images = open_images("sklearn:digits[0:20]", visible=False)
    batches = ImageBatches(images, np.arange(20), batch_size=20, seed=3, cache_bytes=2**20)
    first, second = batches.batch(0), batches.batch(1)
    assert first is not None
    assert second is not None
    assert not torch.equal(first, second)


def test_flip_mirrors_about_half_of_the_images(tmp_path, monkeypatch):
    image = np.zeros((1, 4, 4), np.uint8)
    image[:, :, 0] = 255
    np.save(tmp_path / "left.npy", image.repeat(40, 0))
    bright_columns: Counter = Counter()
    mix = DDPMSchedule.noisy_and_target

    def looking(self, images, noise, timesteps):
        bright_columns.update(images.argmax(-1)[:, 0, 0].tolist())
        return mix(self, images, noise, timesteps)

    monkeypatch.setattr(DDPMSchedule, "noisy_and_target", looking)
    config = tiny(tmp_path / "out", images=str(tmp_path / "left.npy"), batch_size=40, epochs=5)
    train(dataclasses.replace(config, flip=True), visible=False)
    assert set(bright_columns) == {0, 3}
    assert 60 < bright_columns[3] < 140
    bright_columns.clear()
    train(dataclasses.replace(config, out=tmp_path / "unflipped"), visible=False)
    assert set(bright_columns) == {0}


def test_diverging_run_stops_and_saves_nothing(tmp_path):
    config = tiny(tmp_path, learning_rate=1e30, warmup_fraction=0.0)
    with pytest.raises(ModelError, match=r"step \d+: training diverged.*--learning-rate"):
        train(config, visible=False)
    assert not (tmp_path / "model_index.json").exists()


def test_images_too_small_for_the_levels_are_refused(tmp_path):
    deep = dataclasses.replace(TINY, block_out_channels=(8, 8, 8, 8, 8))
    with pytest.raises(ConfigurationError, match="multiples of 16"):
        train(tiny(tmp_path, architecture=deep), visible=False)


@pytest.mark.parametrize(
    ("options", "changes", "flag"),
    [
        (ArchitectureOptions, {"block_out_channels": (12,)}, "--block-out-channels"),
        (ArchitectureOptions, {"block_out_channels": ()}, "--block-out-channels"),
        (ArchitectureOptions, {"norm_num_groups": 0}, "--block-out-channels"),
        (ArchitectureOptions, {"attention_levels": (4,)}, "--attention-levels"),
        (ArchitectureOptions, {"dropout": 1.0}, "--dropout"),
        (ArchitectureOptions, {"layers_per_block": 0}, "--layers-per-block"),
        (NoiseScheduleOptions, {"num_train_timesteps": 1}, "--num-train-timesteps"),
        (OptimisationOptions, {"epochs": 0}, "--epochs"),
        (OptimisationOptions, {"steps": 0}, "--steps"),
        (OptimisationOptions, {"batch_size": 0}, "--batch-size"),
        (OptimisationOptions, {"learning_rate": float("nan")}, "--learning-rate"),
        (OptimisationOptions, {"gradient_clip": 0.0}, "--gradient-clip"),
        (OptimisationOptions, {"warmup_fraction": 1.5}, "--warmup-fraction"),
        (OptimisationOptions, {"ema_decay": 1.0}, "--ema-decay"),
    ],
)
def test_unsupported_option_is_refused_by_its_flag(options, changes, flag):
    with pytest.raises(ConfigurationError, match=flag):
        options(**changes)


def test_recorded_options_give_the_same_run_again(tmp_path):
    config = tiny(tmp_path / "out", architecture=EVERYTHING, flip=True, steps=2)
    train(config, visible=False)
    assert parse(TrainingConfig, ["--config", str(tmp_path / "out" / "training.yaml")]) == config


def test_out_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made"):
        train(tiny(tmp_path / "file"), visible=False)


def test_loss_of_every_step_is_written(tmp_path):
    train(tiny(tmp_path), visible=False)
    table = np.loadtxt(tmp_path / "loss.csv", delimiter=",", skiprows=1)
    assert table[:, 0].tolist() == list(range(1, 13))
    assert (table[:, 1] > 0).all()


def test_default_architecture_is_the_published_one():
    network = build_network(ArchitectureOptions(), ImageShape(3, 32, 32))
    assert isinstance(network, UNet2DModel)
    parameters = sum(weights.numel() for weights in network.parameters())
    assert parameters == 35_746_307  # google/ddpm-cifar10-32
