"""Nonsense as the value of any option of any command: refused by its flag before anything is done.

The command lines name inputs that do not exist, so that a refusal which names the option can only
come before anything was looked for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from dtrak_stream.cli.command_line import EXIT_REFUSED
from dtrak_stream.cli.commands import BENCHMARKS, COMMANDS, Command
from dtrak_stream.cli.watch_options import WatchOptions
from tests.commands_here import run_command

REQUIRED = {
    "featurize": "--images gone --store new",
    "remove": "--store gone --ids gone",
    "gram": "--store gone --out new",
    "report": "--scores gone --train gone --query gone --out new",
    "verify": "--run gone",
    "import-features": "--array gone --store new --source x --output-function simple --timesteps 10"
    " --projector other --scale 1 --image-shape 1x8x8",
    "export": "--store gone --out new.npy",
    "train": "--images gone --out new --attention-levels 0",
    "train-lora": "--images gone --out new --model gone",
    "generate": "--out new --model gone",
    "retrain-subsets": "--out new --query gone",
    "import-truth": "--out new --index gone --subset-index gone --models gone",
    "lds": "--scores gone --truth gone",
    "counterfactual": "--scores a=gone --generated gone --out new",
}
MAY_BE_0 = {
    *("--seed", "--loss-seed", "--random-seed", "--first-seed", "--subset-seed"),
    *("--max-queries", "--influential", "--shown-groups", "--damping-number"),
    *("--measured-images", "--num-parameters", "--image-cache-mib", "--attention-levels"),
    *("--projected-parameters", "--self-queries", "--deep", "--model-seeds", "--noise-seeds"),
    *("--repeated", "--neighbours"),
}
MAY_BE_EMPTY = {"--projector-name", "--missing-captions", "--query-missing-captions"}


def options(config: type) -> Iterator[tuple[str, Any]]:
    """Yield the flag and the type of every option."""
    for name, kind in get_type_hints(config).items():
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            yield from options(kind)
        else:
            yield f"--{name.replace('_', '-')}", kind


def scalars(kind: Any) -> set[Any]:
    """Return what one word of an option may be."""
    if get_origin(kind) is Literal:
        return {Literal}
    inside = [each for each in get_args(kind) if each not in (..., type(None))]
    return set().union(*map(scalars, inside)) if inside else {kind}


def nonsense(flag: str, kind: Any) -> list[str]:
    """Return what an option of this type cannot be."""
    kinds = scalars(kind)
    if int in kinds:
        return [str(2**70), "-1", *([] if flag in MAY_BE_0 else ["0"])]
    if float in kinds:
        return ["nan", "-1"]
    return [""] if kinds & {str, Path} and flag not in MAY_BE_EMPTY else []


EVERY: list[tuple[tuple[str, ...], object]] = [
    *(((name,), command) for name, command in COMMANDS.items()),
    *((("bench", name), command) for name, command in BENCHMARKS.items()),
]
CASES = [
    (words, flag, value)
    for words, command in EVERY
    if isinstance(command, Command)
    for flag, kind in [*options(command.options()), *options(WatchOptions)]
    for value in nonsense(flag, kind)
]


def test_every_type_of_option_has_its_nonsense():
    assert len(CASES) > 400
    assert {flag for _, flag, value in CASES if value == ""} >= {"--run", "--out", "--split"}


@pytest.mark.parametrize("words", sorted({words for words, _, _ in CASES}), ids=" ".join)
def test_nonsense_is_refused_by_the_name_of_its_option(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    required = REQUIRED.get(words[0], "").split()
    for flag, value in [(flag, value) for of, flag, value in CASES if of == words]:
        given = [flag, value, value] if flag == "--adam-betas" else [f"{flag}={value}"]
        told = run_command(*words, *required, *given)
        assert (told.code, told.stdout, told.stderr.count("\n")) == (EXIT_REFUSED, "", 1), given
        assert told.stderr.startswith("error: ")
        assert flag in told.stderr, given
        assert list(tmp_path.iterdir()) == [], given
