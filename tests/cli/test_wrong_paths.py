"""A path of the wrong kind is refused by its name, for every option that takes one.

All other options are as they should be. Nothing is waited for, and nothing is left behind.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dtrak_stream import AttributeConfig, ScoreOptions, attribute
from dtrak_stream.cli.command_line import EXIT_REFUSED
from dtrak_stream.cli.commands import COMMANDS, Command
from dtrak_stream.generation.run import generate
from dtrak_stream.training.run import train
from tests.cli.test_nonsense import options, scalars
from tests.commands_here import run_command
from tests.evaluation.synthetic import half_masks, linear_losses, scores_of, truth_of
from tests.generation.small_runs import config_of
from tests.small_jobs import ALIKE, small_features
from tests.training.tiny_runs import tiny

FILE, FOLDER = ("folder", "pipe", "gone", "text/x"), ("text", "pipe", "gone")
NEW_FILE, NEW_FOLDER = ("folder", "pipe", "text/x"), ("text", "pipe", "text/x")
SOURCE = ("text", "pipe", "gone", "text/x")
"""What is no such thing: names in the folder of `place`."""

DIGITS = "sklearn:digits[0:8]"
FEATURES = "--timesteps 1 --proj-dim 64 --device cpu --engine timestep-batched --batch-size 2"
SMALL = "--block-out-channels 8 --layers-per-block 1 --norm-num-groups 4 --attention-levels 0"
COMMAND_LINES = {
    "attribute": f"--model model --train {DIGITS} --query images --run new --damping 1 {FEATURES}",
    "plan": "--model model --run new --timesteps 1 --proj-dim 64 --device cpu",
    "featurize": f"--model model --images {DIGITS} --store new {FEATURES}",
    "remove": "--store run/train --rows rows.txt",
    "gram": "--store run/train --out new",
    "score": "--train run/train --query run/query --gram run/gram.h5 --out new --damping 1",
    "report": f"--scores run/scores.h5 --train {DIGITS} --query images --out new",
    "verify": "--run run",
    "import-features": "--array array.npy --store new --source x --output-function simple"
    " --timesteps 10 --projector other --scale 1 --image-shape 1x8x8",
    "export": "--store run/train --out new.npy",
    "train": f"--images {DIGITS} --out new --steps 1 --device cpu {SMALL}",
    "train-lora": f"--model model --images {DIGITS} --out new --device cpu",
    "generate": "--model model --out new --count 1 --steps 1 --device cpu",
    "retrain-subsets": "--model model --query sklearn:digits[8:11] --out new --subsets 1"
    " --loss-timesteps 1 --device cpu",
    "import-truth": "--index rows.pkl --subset-index subsets --models models --out new",
    "lds": "--scores fitted.h5 --truth truth.npz",
    "counterfactual": "--scores a=run/scores.h5 --generated images --model model --out new"
    " --queries 2 --device cpu",
}
WRONG: dict[str, dict[str, tuple[str, ...]]] = {
    "attribute": {
        **{"model": FOLDER, "train": SOURCE, "query": SOURCE, "run": NEW_FOLDER},
        "held-out": SOURCE,
        **{"trajectory": FOLDER, "groups": FILE, "group-source": SOURCE},
        **{"rows": FILE, "query-rows": FILE, "base": FOLDER},
    },
    "plan": {"model": FOLDER, "base": FOLDER, "run": NEW_FOLDER},
    "featurize": {
        **{"model": FOLDER, "images": SOURCE, "store": NEW_FOLDER, "trajectory": FOLDER},
        **{"rows": FILE, "base": FOLDER},
    },
    "remove": {"store": FOLDER, "ids": FILE, "rows": ("folder.txt", "pipe.txt", "gone.txt")},
    "gram": {"store": FOLDER, "out": NEW_FILE},
    "score": {
        **{"train": FOLDER, "query": FOLDER, "gram": FILE, "out": NEW_FILE},
        **{"truth": FILE, "groups": FILE, "group-source": SOURCE},
        **{"residuals": FOLDER, "held-out": FOLDER, "pixels": FOLDER, "held-out-pixels": FOLDER},
    },
    "report": {
        **{"scores": FILE, "train": SOURCE, "query": SOURCE, "out": NEW_FOLDER},
        **{"rows": FILE, "query-rows": FILE},
    },
    "verify": {"run": FOLDER, "trajectory": FOLDER},
    "import-features": {
        **{"array": FILE, "row-order": FILE, "ids": FILE, "images": SOURCE, "rows": FILE},
        "store": NEW_FOLDER,
    },
    "export": {"store": FOLDER, "scores": FILE, "out": ("text/x.npy", "pipe.npy", "folder.npy")},
    "train": {"images": SOURCE, "rows": FILE, "subset": FILE, "out": NEW_FOLDER},
    "train-lora": {"model": FOLDER, "base": FOLDER, "out": NEW_FOLDER},
    "generate": {"model": FOLDER, "base": FOLDER, "prompts": FILE, "out": NEW_FOLDER},
    "retrain-subsets": {
        **{"model": FOLDER, "images": SOURCE, "query": SOURCE, "stratify": FILE},
        "out": NEW_FILE,
    },
    "import-truth": {"models": FOLDER},
    "lds": {"scores": FILE, "truth": FILE, "json": NEW_FILE, "csv": NEW_FILE, "plot": NEW_FILE},
    "counterfactual": {
        **{"scores": FILE, "generated": FOLDER, "model": FOLDER, "images": SOURCE},
        "out": NEW_FOLDER,
    },
}
BESIDES = {
    ("attribute", "trajectory"): "--method journey-trak",
    ("attribute", "group-source"): "--group-column target",
    ("featurize", "trajectory"): '--output-function "trajectory(averaged)"',
    ("score", "group-source"): "--group-column target",
    ("score", "residuals"): "--held-out run/train",
    ("score", "held-out"): "--residuals run/train",
    **{
        ("score", f"{one}pixels"): "--residuals run/train --held-out run/train --neighbours 2 "
        f"--{other}pixels run/train"
        for one, other in (("", "held-out-"), ("held-out-", ""))
    },
    ("import-features", "rows"): f"--images {DIGITS}",
}
INSTEAD = {
    ("score", "truth"): "--out new --method empirical-influence",
    ("remove", "ids"): "--store run/train",
    ("remove", "rows"): "--store run/train",
    ("export", "scores"): "--out new.npy",
    ("verify", "trajectory"): "--run along --deep 1",
}
WITHOUT_BARS = {"plan", "remove"}
PARTLY = {"import-truth", "train-lora"}
"""Commands whose other inputs lie in many files, or are of a model that reads captions."""
OF_LATENTS = {"cache-latents"}
"""Options that only models of latents take, which the one here is not."""
PREFIX = {("counterfactual", "scores"): "a="}
CASES = [(command, option) for command, paths in WRONG.items() for option in paths]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Iterator[Path]:
    """A folder with a small model, a run of it, and everything else that commands take."""
    root: Path = tmp_path_factory.mktemp("place")
    train(tiny(root / "model", images=DIGITS, epochs=1), visible=False)
    generated = config_of(str(root / "model"), root / "images", count=2, save_trajectory=True)
    generate(generated, visible=False)
    run: dict[str, Any] = {"model": str(root / "model"), "train": DIGITS, "execution": ALIKE}
    run |= {"query": str(root / "images"), "features": small_features(), "quiet": True}
    attribute(AttributeConfig(run=root / "run", score_options=ScoreOptions(damping="1"), **run))
    along: dict[str, Any] = {
        "score_options": ScoreOptions(method="journey-trak"),
        "trajectory": root / "images",
    }
    run["features"] = small_features(timesteps="list:500")
    attribute(AttributeConfig(run=root / "along", **run, **along))
    scores = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    np.save(root / "array.npy", scores.T)
    mask = half_masks(20, 8)
    truth_of(root / "truth.npz", mask, linear_losses(mask, scores))
    scores_of(root / "fitted.h5", scores)
    (root / "text").write_text("hello\n")
    (root / "rows.txt").write_text("0\n")
    for suffix in ("", ".npy", ".txt"):
        (root / f"folder{suffix}").mkdir()
        os.mkfifo(root / f"pipe{suffix}")
    yield root
    for pipe in root.glob("pipe*"):
        pipe.unlink()


@pytest.fixture
def hurry() -> Iterator[None]:
    """Whoever waits for a pipe that nobody writes into is interrupted at last."""

    def too_long(*_: object) -> None:
        raise TimeoutError("waited for a pipe")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


FOUND = ("model: ", "images: ")
"""How lines begin that tell what was found of the paths that are as they should be."""


def test_every_option_that_is_a_path_is_tried():
    for name, command in COMMANDS.items():
        if isinstance(command, Command) and name not in PARTLY:
            found = {flag[2:] for flag, kind in options(command.options()) if Path in scalars(kind)}
            assert found - OF_LATENTS <= WRONG[name].keys(), name


@pytest.mark.parametrize(("command", "option"), CASES)
def test_a_path_of_the_wrong_kind_is_refused_by_its_name(
    place, monkeypatch, hurry, command, option
):
    monkeypatch.chdir(place)
    usual = INSTEAD.get((command, option), COMMAND_LINES[command])
    words = shlex.split(f"{command} {usual} {BESIDES.get((command, option), '')}")
    words += ["--quiet"] if command not in WITHOUT_BARS else []
    before = sorted(place.rglob("*"))
    for name in WRONG[command][option]:
        given = PREFIX.get((command, option), "") + name
        told = run_command(*words, f"--{option}", given)
        assert (told.code, told.stdout) == (EXIT_REFUSED, ""), told
        refusals = [line for line in told.stderr.splitlines() if line[:3] in ("err", "BAD")]
        assert re.search(rf"{name}(/trajectory)?:", refusals[0]), told.stderr
        lines = [line for line in told.stderr.splitlines() if not line.startswith(FOUND)]
        assert command == "verify" or lines == refusals[:1], told.stderr
    assert sorted(place.rglob("*")) == before
