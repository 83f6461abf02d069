"""No command replaces, removes or adds to what it did not write itself."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

import h5py
import pytest

from dtrak_stream.cli.commands import BENCHMARKS, COMMANDS, Command
from dtrak_stream.scoring.scores_file import ScoresFile
from tests.cli.conftest import ATTRIBUTE, IMAGES, IMPORT, IMPORT_TRUTH, SIDES
from tests.commands_here import run_command

READ = {
    "plan": {"--run", "--groups", "--trajectory"},
    "attribute": {"--groups", "--trajectory"},
    "featurize": {"--trajectory"},
    "remove": {"--store", "--ids", "--rows"},
    "gram": {"--store"},
    "score": {
        *("--train", "--query", "--gram", "--truth", "--groups"),
        *("--residuals", "--held-out", "--pixels", "--held-out-pixels"),
    },
    "report": {"--scores"},
    "verify": {"--run", "--trajectory"},
    "import-features": {"--array", "--row-order", "--ids", "--rows"},
    "export": {"--store", "--scores"},
    "train": {"--subset"},
    "train-lora": {"--subset"},
    "generate": {"--prompts"},
    "retrain-subsets": {"--stratify"},
    "import-truth": {"--index", "--subset-index", "--models", "--ids", "--rows"},
    "lds": {"--scores", "--truth"},
    "counterfactual": {"--generated"},
}
"""Options that name what a command reads. Every other path is written to."""
OF_IMAGES = {"--rows", "--query-rows"}
"""What any command that opens images reads."""
ELSEWHERE = {"--cache-latents"}
"""Written to by models of latents alone: tried where latents are kept."""


class Place(NamedTuple):
    """Where a command writes."""

    command: str
    """The command, without the option under test; in braces, what is put there."""
    flag: str
    """The option that says where."""
    value: str
    """What is given for it."""
    written: str
    """The file or folder that is written then."""
    is_folder: bool = False
    """Whether a folder is written, which must be new, empty, or of the same command."""


GRIDS = ("grids/query-00000.png", "grids/query-99999.png")
PLACES = [
    *(
        Place(ATTRIBUTE, "--run", "new", f"new/{name}")
        for name in (
            "config.yaml",
            "gram.h5",
            "scores.h5",
            "report/index.html",
            "report/made_from.json",
            "report/grids/query-00000.png",
        )
    ),
    Place(ATTRIBUTE, "--run", "new", "new/train", is_folder=True),
    Place(ATTRIBUTE, "--run", "new", "new/query", is_folder=True),
    Place(
        "featurize --images sklearn:digits[:8] --proj-dim 64 --timesteps 2 --quiet",
        "--store",
        "new",
        "new",
        is_folder=True,
    ),
    Place("gram --store {run}/train --quiet", "--out", "new.h5", "new.h5"),
    Place("gram --store {run}/train --quiet", "--out", "new.h5", "new.config.yaml"),
    Place("gram --store {run}/train --quiet", "--out", "new.h5", "new.h5.parts", is_folder=True),
    *(
        Place(f"score {SIDES} --method {method} --quiet", "--out", "new.h5", written)
        for method in ("d-trak --gram {run}/gram.h5", "gradient-dot")
        for written in ("new.h5", "new.config.yaml")
    ),
    Place(
        f"score {SIDES} --method gradient-dot --quiet",
        "--out",
        "new.h5",
        "new.h5.parts",
        is_folder=True,
    ),
    Place("score --method empirical-influence --truth {truth} --quiet", "--out", "n.h5", "n.h5"),
    *(
        Place(f"report {IMAGES} --scores {{run}}/scores.h5 --quiet", "--out", "new", f"new/{name}")
        for name in (
            "index.html",
            "made_from.json",
            "grids/query-00000.png",
            "grids/query-99999.png",
        )
    ),
    Place(IMPORT, "--store", "new", "new", is_folder=True),
    *(
        Place(f"export {source} --quiet", "--out", f"new{suffix}", f"new{suffix}{beside}")
        for source, suffix, besides in (
            ("--store {run}/train", ".npy", ("", ".ids.txt", ".import.yaml")),
            ("--store {run}/train", ".safetensors", ("",)),
            ("--store {run}/train", ".fvecs", ("",)),
            ("--scores {run}/scores.h5", ".npy", ("", ".train_ids.txt", ".query_ids.txt")),
            ("--scores {run}/scores.h5", ".csv", ("",)),
        )
        for beside in besides
    ),
    Place("train --images sklearn:digits[:8] --quiet", "--out", "new", "new", is_folder=True),
    Place(
        "train-lora --images sklearn:digits[:8] --model gone --quiet",
        "--out",
        "new",
        "new",
        is_folder=True,
    ),
    Place("generate --count 1 --steps 1 --quiet", "--out", "new", "new", is_folder=True),
    Place("retrain-subsets --query sklearn:digits[:2] --quiet", "--out", "new.npz", "new.npz"),
    Place(
        "retrain-subsets --query sklearn:digits[:2] --quiet",
        "--out",
        "new.npz",
        "new.npz.work",
        is_folder=True,
    ),
    *(
        Place(IMPORT_TRUTH, "--out", "new.npz", written)
        for written in ("new.npz", "new.config.yaml")
    ),
    *(
        Place("lds --scores {run}/scores.h5 --truth {truth} --quiet", f"--{name}", "new", "new")
        for name in ("json", "csv", "plot")
    ),
    Place(
        "counterfactual --scores a={run}/scores.h5 --generated {run} --quiet",
        "--out",
        "new",
        "new",
        is_folder=True,
    ),
    *(
        Place(f"bench {name}", "--out", "new", f"new.{ending}")
        for name in BENCHMARKS
        for ending in ("json", "md")
    ),
]
FILES = [place for place in PLACES if not place.is_folder]
FOLDERS = [place for place in PLACES if place.is_folder]


def named(place: Place) -> str:
    return f"{place.command.split(' --')[0]} {place.flag} {place.written}".replace(" ", "_")


def given(place: Place, inputs: dict[str, str], folder: Path) -> list[str]:
    words = [word.format(**inputs) for word in place.command.split()]
    return [*words, place.flag, str(folder / place.value)]


def seen(folder: Path) -> dict[str, tuple[str, bytes]]:
    """Return all that lies below a folder: what it is, and its contents."""
    found: dict[str, tuple[str, bytes]] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = ("link", str(path.readlink()).encode())
        elif path.is_file():
            found[name] = ("file", path.read_bytes())
        else:
            found[name] = ("folder" if path.is_dir() else "special", b"")
    return found


def text(path: Path) -> None:
    path.write_text("precious\n")


def empty(path: Path) -> None:
    path.touch()


def hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["images"] = range(9)


def link(path: Path) -> None:
    (path.parent / "elsewhere").write_text("precious\n")
    path.symlink_to("elsewhere")


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.mkdir()
    (path / "notes.txt").write_text("precious\n")


def link_to_folder(path: Path) -> None:
    folder(path.parent / "elsewhere")
    path.symlink_to("elsewhere")


def refused_untouched(
    place: Place, inputs: dict[str, str], tmp_path: Path, put: Callable[[Path], None]
) -> None:
    obstacle = tmp_path / place.written
    obstacle.parent.mkdir(parents=True, exist_ok=True)
    put(obstacle)
    before = seen(tmp_path)
    told = run_command(*given(place, inputs, tmp_path))
    assert told.code == 2, (told.stdout, told.stderr)
    assert seen(tmp_path) == before
    (line,) = [line for line in told.stderr.splitlines() if line.startswith("error: ")]
    assert str(obstacle) in line


@pytest.mark.parametrize("place", FILES, ids=named)
def test_a_file_of_somebody_else_is_refused_and_left_alone(place, inputs, tmp_path):
    refused_untouched(place, inputs, tmp_path, text)


@pytest.mark.parametrize("place", FOLDERS, ids=named)
def test_a_folder_of_somebody_else_is_refused_and_left_alone(place, inputs, tmp_path):
    refused_untouched(place, inputs, tmp_path, folder)


TAKEN = [place for place in FOLDERS if Path(place.written).parts[0] == place.value]
"""The folders that are told by their option, or lie in it; others have endings added."""


@pytest.mark.parametrize("flag", ["--status", "--log-json"])
@pytest.mark.parametrize("place", TAKEN, ids=named)
def test_nothing_watches_from_a_folder_that_is_to_be_begun(place, flag, inputs, tmp_path):
    file = tmp_path / place.written / "watch"
    told = run_command(*given(place, inputs, tmp_path), flag, str(file))
    assert told.code == 2, (told.stdout, told.stderr)
    (line,) = told.stderr.splitlines()
    assert f"{flag} {file}: lies in {file.parent}, which {place.flag} is to begin" in line
    assert seen(tmp_path) == {}


def first(places: list[Place], command: str) -> Place:
    return next(place for place in places if place.command.split()[0] == command)


@pytest.mark.parametrize("command", ["gram", "score", "export"])
@pytest.mark.parametrize("put", [empty, hdf5, link, loop, pipe, folder, link_to_folder])
def test_odd_things_in_the_place_of_a_file_are_refused(command, put, inputs, tmp_path):
    refused_untouched(first(FILES, command), inputs, tmp_path, put)


@pytest.mark.parametrize("command", ["featurize", "train"])
@pytest.mark.parametrize("put", [text, loop, pipe, link_to_folder])
def test_odd_things_in_the_place_of_a_folder_are_refused(command, put, inputs, tmp_path):
    refused_untouched(first(FOLDERS, command), inputs, tmp_path, put)


def paths_in(options: type[Any]) -> Iterator[str]:
    """Yield the flags of options that are paths."""
    for name, kind in get_type_hints(options, include_extras=True).items():
        plain = get_args(kind)[0] if get_origin(kind) is Annotated else kind
        if dataclasses.is_dataclass(plain) and isinstance(plain, type):
            yield from paths_in(plain)
        elif plain is Path or Path in get_args(plain):
            yield f"--{name.replace('_', '-')}"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_path_that_a_command_writes_to_is_tried_above(name):
    tried = {place.flag for place in PLACES if place.command.split()[0] == name}
    command = COMMANDS[name]
    if isinstance(command, Command):
        known = READ.get(name, set()) | OF_IMAGES | ELSEWHERE
        assert set(paths_in(command.options())) - known == tried
    else:
        assert {place.command.split()[1] for place in PLACES if place.command[:5] == "bench"} == (
            set(command.commands)
        )


@pytest.mark.parametrize("command", ["gram", "score", "report", "export", "lds"])
def test_what_the_same_command_wrote_may_be_written_again(command, inputs, tmp_path):
    words = given(first(FILES, command), inputs, tmp_path)
    assert [run_command(*words).code for _ in range(2)] == [0, 0]


@pytest.mark.parametrize("suffix", [".npy", ".csv"])
def test_an_export_that_was_changed_since_is_the_users(suffix, inputs, tmp_path):
    place = Place("export --scores {run}/scores.h5 --quiet", "--out", f"new{suffix}", "")
    out = tmp_path / place.value
    assert run_command(*given(place, inputs, tmp_path)).code == 0
    out.write_bytes(out.read_bytes() + b"\n")
    before = seen(tmp_path)
    assert run_command(*given(place, inputs, tmp_path)).code == 2
    assert seen(tmp_path) == before


def test_an_export_of_something_else_is_not_replaced(inputs, tmp_path):
    first = Place("export --store {run}/train --quiet", "--out", "new.npy", "")
    second = Place("export --store {run}/query --quiet", "--out", "new.npy", "")
    assert run_command(*given(first, inputs, tmp_path)).code == 0
    before = seen(tmp_path)
    told = run_command(*given(second, inputs, tmp_path))
    assert (told.code, seen(tmp_path)) == (2, before)
    assert "is a NumPy array, not a file that dtrak-stream export wrote for this job" in told.stderr


def test_scores_go_where_a_link_leads_to(inputs, tmp_path):
    place = next(place for place in FILES if "gradient-dot" in place.command)
    (tmp_path / "disk").mkdir()
    (tmp_path / place.value).symlink_to(tmp_path / "disk" / "scores.h5")
    for top_k in ("1", "2"):
        told = run_command(*given(place, inputs, tmp_path), "--top-k", top_k)
        assert told.code == 0, told.stderr
        assert (tmp_path / place.value).is_symlink()
        with ScoresFile(tmp_path / "disk" / "scores.h5") as scores:
            assert scores.top_k == int(top_k)
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["scores.h5"]
