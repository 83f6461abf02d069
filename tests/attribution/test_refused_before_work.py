"""What the main job cannot do it says in one line, before it computes or writes anything."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from PIL import Image

from dtrak_stream.attribution import run as main_job
from dtrak_stream.attribution.configuration import AttributeConfig
from dtrak_stream.cli.command_line import EXIT_DONE, EXIT_REFUSED
from dtrak_stream.featurizing.run import featurize
from tests.commands_here import Told, run_command
from tests.small_jobs import (
    ALIKE,
    flags,
    random_pixels,
    save_images,
    small_features,
    small_job,
    written_at,
)

STAGES = ("finish", "compute_gram", "score", "update_report")
SIZES = {"gray": (8, 8), "wide": (8, 10), "rgb": (8, 8, 3), "rgba": (8, 8, 4)}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Images of several shapes and what is written about them, which no test changes."""
    root: Path = tmp_path_factory.mktemp("place")
    save_images(root / "train", random_pixels(4))
    for name, size in SIZES.items():
        (root / name).mkdir()
        Image.fromarray(np.full(size, 99, np.uint8)).save(root / name / "0.png")
    for split in ("train", "test"):
        save_images(root / "both" / split, random_pixels(1))
    np.save(root / "five.npy", np.zeros((2, 8, 8, 5), np.uint8))
    (root / "file").write_text("precious")
    (root / "groups.csv").write_text("000.png,cats\n")
    (root / "strangers.csv").write_text("000.png,cats\nmouse.png,mice\n")
    (root / "three.csv").write_text("000.png,cats,1\n")
    (root / "taken" / "train").mkdir(parents=True)
    (root / "taken" / "train" / "notes.txt").write_text("mine")
    return root


@pytest.fixture
def working(monkeypatch) -> list[str]:
    """The stages that were begun: none of them goes on."""
    begun: list[str] = []

    def stage(name: str) -> Callable[..., NoReturn]:
        def begin(*_: object, **__: object) -> NoReturn:
            begun.append(name)
            raise SystemExit(EXIT_DONE)

        return begin

    for name in STAGES:
        monkeypatch.setattr(main_job, name, stage(name))
    return begun


def attribute(place: Path, model: str, words: str) -> Told:
    """Run the command with these further words, in which {} stands for the folder of images."""
    config = AttributeConfig(
        model=model,
        train=str(place / "train"),
        query=str(place / "gray"),
        run=place / "new" / "run",
        features=small_features(),
        quiet=True,
    )
    if "pixel" in words:
        config = dataclasses.replace(config, features=small_features(timesteps=None))
    else:
        config = dataclasses.replace(config, execution=ALIKE)
    return run_command("attribute", *flags(config), *words.replace("{}", str(place)).split())


def assert_refused(place: Path, working: list[str], refusal: Told, what: str, remedy: str) -> None:
    """One line says what is wrong and what to do; no stage began and no file was written."""
    assert (refusal.code, refusal.stdout, working) == (EXIT_REFUSED, "", [])
    *found, line = refusal.stderr.splitlines()  # a model that could be loaded has a line as well
    assert [each for each in found if "UNet2DModel of 1x8x8" not in each] == []
    assert line.startswith("error: ")
    assert what.replace("{}", str(place)) in line
    told, _, to_do = line.rpartition("; ")
    assert told
    assert remedy in to_do


def test_what_is_not_refused_gets_to_work(place, working, model_folder, tmp_path):
    told = attribute(place, model_folder, f"--run {tmp_path / 'run'}")
    assert (told.code, working) == (EXIT_DONE, ["finish"]), told.stderr


DAMPING = "use auto, auto-oas, a multiple of the mean eigenvalue"
COUNT = "give a whole number of at least 1"
OUTSIDE = "give a place outside of it as --run"
SHAPE = "and the model, or the images they are compared with, wants 1x8x8"
REFUSALS = [
    # damping
    ("--damping=-1", "--damping -1: not a damping", DAMPING),
    ("--damping nan", "--damping nan: not a damping", DAMPING),
    ("--damping inf", "--damping inf: not a damping", DAMPING),
    ("--damping abs:-5", "--damping abs:-5: not a damping", DAMPING),
    ("--damping abs:", "--damping abs:: not a damping", DAMPING),
    ("--damping auto:3", "--damping auto:3: not a damping", DAMPING),
    ("--damping mean:0.1", "--damping mean:0.1: not a damping", DAMPING),
    ("--damping path,0.1", "--damping path: not a damping", DAMPING),
    ("--damping 0.1,much", "--damping much: not a damping", DAMPING),
    ("--damping-number 0", "--damping-number 0: there is one damping only", "leave it out"),
    ("--damping-number=-1 --damping 0.1,1", "--damping-number -1: must be at", "change it"),
    ("--damping-number 2 --damping 0.1,1", "--damping-number 2: scores are for a", "from 0 to 1"),
    ("--damping-number nan", "Error parsing --damping-number", "--help"),
    # shapes of images
    ("--query {}/wide", "{}/wide: its images are 1x8x10 (0.png), " + SHAPE, "--image-fit crop"),
    ("--train {}/wide", "{}/wide: its images are 1x8x10 (0.png), " + SHAPE, "--image-fit crop"),
    ("--query {}/rgb", "{}/rgb: its images are 3x8x8 (0.png), " + SHAPE, "--channels convert"),
    ("--query {}/rgba", "{}/rgba: its images are 4x8x8 (0.png), " + SHAPE, "--channels convert"),
    ("--train {}/rgba", "{}/rgba: its images are 4x8x8 (0.png), " + SHAPE, "--channels convert"),
    ("--train {}/five.npy", "five.npy: its images are 5x8x8 (0), ", "images with 1 channels"),
    ("--method pixel-dot --query {}/wide", "{}/wide: its images are 1x8x10", "--image-fit crop"),
    ("--method pixel-dot --query {}/rgba", "{}/rgba: its images are 4x8x8", "--channels convert"),
    # splits
    ("--split test", "{}/train: no split 'test'; nothing in it tells splits", "leave out --split"),
    ("--query-split test", "{}/gray: no split 'test'; nothing", "(of queries --query-split)"),
    ("--query {}/both", "{}/both: it has several splits (test, train)", "--query-split"),
    # groups
    ("--groups {}/groups.csv --group-column folder", "groups are given twice", "one of them"),
    ("--groups {}/gone.csv", "{}/gone.csv: does not exist", "check the path"),
    ("--groups {}/train", "{}/train: is a folder", "name a file in it"),
    ("--groups {}/strangers.csv", "no training samples (mouse.png)", "remove the others"),
    ("--groups {}/three.csv", "{}/three.csv: line 1 has 3 fields", "sample id and its group"),
    ("--group-column artist", "{}/train has no columns", "use --groups FILE.csv"),
    ("--group-column folder --group-source {}/gone", "{}/gone: does not exist", "check the path"),
    ("--group-column folder --group-source {}/gray", "stored 4, requested 1", "--group-source"),
    ("--group-source {}/train", "--group-source {}/train: it says", "name it as --group-column"),
    ("--group-split test", "--group-split test: it says where", "name it as --group-column"),
    ("--top-groups 0", "--top-groups 0: must be at least 1", "change it"),
    # where it would be written
    ("--run {}/file", "--run {}/file: is a file, not a folder", "another place as --run"),
    ("--run {}/file/run", "--run {}/file/run: cannot be made: {}/file is", "another place as"),
    ("--run {}/train", "--run {}/train: lies in {}/train", OUTSIDE),
    ("--run {}/train/a/run", "--run {}/train/a/run: lies in {}/train", OUTSIDE),
    ("--run {}/gray/run", "--run {}/gray/run: lies in {}/gray", OUTSIDE),
    ("--run {}/taken", "{}/taken/train: not empty and not a feature store", "empty folder as"),
    # numbers
    ("--top-k 0", "--top-k 0: must be at least 1", "change it"),
    ("--limit 0", "--limit: 0 is not a number of images", COUNT),
    ("--limit=-3", "--limit: -3 is not a number of images", COUNT),
    ("--query-limit 0", "--query-limit: 0 is not a number of images", COUNT),
    ("--batch-size 0", "--batch-size: 0 is not a number of images", COUNT),
    ("--proponents 0", "--proponents: 0 is too small", COUNT),
    ("--rows-per-shard 0", "--rows-per-shard 0: must be from 1 to", "change it"),
    ("--seed 18446744073709551616", "--seed 18446744073709551616: must be from 0", "change it"),
    ("--seed=-1", "--seed -1: must be from 0 to", "change it"),
    ("--query=", "--query: is given, and empty", "leave it out"),
    ("--proj-dim 100", "--proj-dim 100: not supported", "a multiple of 64"),
    ("--timesteps list:0,1000", "timesteps must lie in [0, 1000)", "list:0,250,500"),
    ("--memory-limit much", "--memory-limit much: not a size", "4GiB or 500MB"),
    ("--memory-limit 1kB", "the smallest tiles of the Gram matrix need", "allow at least"),
    # what a method does not go with
    ("--method datamodel", "which this command does not make", "--truth truth.npz"),
    ("--method tracincp --checkpoint-weights 1,2", "not a weight for each of 1", "as many numbers"),
    ("--top-groups 3 --rank-groups mean", "--top-groups, --rank-groups: not used", "leave it out"),
    ("--trajectory {}/gray", "--trajectory {}/gray: only features along", "leave it out"),
    ("--method pixel-dot --engine hooked", "--engine hooked: these features are", "leave it out"),
    ("--method pixel-dot --compile", "--compile: these features are no gradients", "leave it out"),
    # what is not there
    ("--query {}/gone", "{}/gone: does not exist", "check the path"),
    ("--model {}/gone", "{}/gone: no such folder", "give a diffusers pipeline folder"),
    ("--device cuda:99", "--device cuda:99: no such device here", "use auto, cpu"),
]


@pytest.mark.parametrize(("words", "what", "remedy"), REFUSALS, ids=[each[0] for each in REFUSALS])
def test_it_is_refused_before_any_work(place, working, model_folder, words, what, remedy):
    before = written_at(place)
    assert_refused(place, working, attribute(place, model_folder, words), what, remedy)
    assert written_at(place) == before
    assert not (place / "new").exists()


@pytest.mark.usefixtures("no_old_clients")
@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("tcp://127.0.0.1:9", "no Dask scheduler answers (Timed out"),
        ("nonsense://host:1", "no Dask scheduler answers (unknown address scheme"),
        ("here", "no Dask scheduler answers (missing port number"),
    ],
)
def test_a_scheduler_is_looked_for_before_model_and_images_are(
    place, working, tmp_path, monkeypatch, address, why
):
    monkeypatch.setattr("dtrak_stream.support.scheduler._CONNECT_SECONDS", 0.2)
    told = attribute(place, str(tmp_path / "no model"), f"--scheduler {address}")
    assert_refused(place, working, told, f"--scheduler {address}: {why}", "check the address")
    assert not (place / "new").exists()


def test_a_scheduler_that_nothing_needs_is_not_asked(place, working, model_folder, tmp_path):
    for images, store in (("train", "train"), ("gray", "query")):
        job = small_job(
            model_folder, place / images, tmp_path / "run" / store, output_function="simple"
        )
        featurize(job)
    words = f"--method gradient-dot --scheduler tcp://127.0.0.1:9 --run {tmp_path / 'run'}"
    told = attribute(place, model_folder, words)
    assert (told.code, working) == (EXIT_DONE, ["finish"]), told.stderr


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="asks for a place nobody may write to")
def test_a_place_nobody_may_write_to_is_refused(place, working, model_folder):
    told = attribute(place, model_folder, "--run /proc/run")
    what = "--run /proc/run: /proc cannot be written to"
    assert_refused(place, working, told, what, "the right to write there")


def test_a_link_into_the_images_is_seen_through(place, working, model_folder, tmp_path):
    (tmp_path / "link").symlink_to(place / "train")
    told = attribute(place, model_folder, f"--run {tmp_path / 'link' / 'run'}")
    assert_refused(place, working, told, f"lies in {place}/train", OUTSIDE)
    assert not (place / "train" / "run").exists()
