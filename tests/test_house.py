"""The house: rooms in the order in which data meets them, imports one way, tests to match."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "dtrak_stream"
FORKS = re.compile(
    r"os\.fork|\bfork(pty)?\(|[\"']fork[\"']|preexec_fn|ProcessPoolExecutor|"
    r"multiprocessing\.(Process|Pool|Manager)\b|from multiprocessing import .*(Process|Pool)\b|"
    r"get_context\((?![\"'](spawn|forkserver)[\"'])|\b(n_jobs|num_workers|num_proc)="
)
# each room may import those before it in this list
PUBLIC_NAMES = "__init__"
ROOMS = (
    *("errors", "support", "data", "model", "objective", "gradients", "projectors", "store"),
    *(
        "features",
        "methods",
        "featurizing",
        "gram",
        "kernel",
        "groups",
        "seen",
        "scoring",
        "report",
    ),
    *("attribution", "planning", "verification", "exchange", "training", "generation"),
    *("evaluation", PUBLIC_NAMES, "cli", "benchmark", "__main__"),
)


def modules() -> dict[str, Path]:
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imported(module: str) -> Iterator[str]:
    """Yield every module of the package that `module` imports, at once, later or for types."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else node.module for name in inside]
        else:
            continue
        yield from (name for name in names if name in MODULES and name != module)


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else PUBLIC_NAMES


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_rooms_before_it(room):
    allowed = ROOMS[: ROOMS.index(room) + 1]
    for module in MODULES:
        if room_of(module) == room:
            for name in imported(module):
                assert room_of(name) in allowed, f"{module} imports {name}"


def test_every_room_has_its_place():
    assert {room_of(module) for module in MODULES} == set(ROOMS)


@pytest.mark.parametrize("module", [m for m in MODULES if MODULES[m].name == "__init__.py"])
def test_a_folder_has_no_names_of_its_own(module):
    """Names are imported from where they are: a folder would load all for the sake of one."""
    if room_of(module) != PUBLIC_NAMES:
        description, *rest = ast.parse(MODULES[module].read_text()).body
        assert isinstance(description, ast.Expr)
        assert not rest


def test_no_imports_run_in_a_circle():
    arrows = {module: set(imported(module)) for module in MODULES}
    while leaves := {module for module, names in arrows.items() if not names}:
        arrows = {m: names - leaves for m, names in arrows.items() if m not in leaves}
    assert not arrows, f"in a circle, or above one: {sorted(arrows)}"


def test_the_store_knows_no_kind_of_feature_by_name():
    kinds = re.compile(r"\b(unit-gradient|trajectory|simple|elbo|square|pixels|clip)\b")
    for path in (PACKAGE / "store").glob("*.py"):
        assert not kinds.search(path.read_text()), path.name


def test_no_process_is_forked_from_one_that_may_have_threads():
    """What another thread holds locked at that moment stays locked in the new process for ever.

    Processes come from a server that has never had threads (forkserver), or are begun anew.
    """
    for module, path in MODULES.items():
        assert not FORKS.search(path.read_text()), module


@pytest.mark.parametrize(
    "line",
    [
        "os.fork()",
        "multiprocessing.get_context()",
        'get_context("fork")',
        "ProcessPoolExecutor(2)",
        "multiprocessing.Process(target=work)",
        "LassoCV(n_jobs=2)",
        'config.set({"distributed.worker.multiprocessing-method": "fork"})',
    ],
)
def test_what_forks_is_known_by_its_name(line):
    assert FORKS.search(line)


def test_every_folder_of_tests_is_one_of_the_package():
    """But for `gpu`, which goes through all rooms on a device that few machines have."""
    for folder in (ROOT / "tests").rglob("*/"):
        inside = folder.relative_to(ROOT / "tests")
        if inside.parts[0] in ("gpu", "__pycache__") or "__pycache__" in inside.parts:
            continue
        if any(folder.glob("test_*.py")):
            assert (PACKAGE / inside).is_dir(), f"tests/{inside} mirrors nothing"


@pytest.mark.parametrize("room", [room for room in ROOMS if (PACKAGE / room).is_dir()])
def test_every_room_has_its_tests(room):
    assert list((ROOT / "tests" / room).rglob("test_*.py"))
