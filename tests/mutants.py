"""Mutation testing of one room with mutmut: does a test of the room notice each small fault?

`bash tools/mutation.sh kernel` runs it. Faults are planted by mutmut in a copy of the project,
one at a time, and the room's own tests are run against each. As a room has thousands of possible
faults, a fixed sample of them is tried: a mutant's place in the order is a hash of its name, so
the sample is the same on every machine, and a larger one contains a smaller one. Where tests were
written for the survivors of a sample, only the mutants after it (`--skip`) tell how good the tests
are. A run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CARRIED = ("dtrak_stream", "tests", "tools", "README.md")
ELSEWHERE = {"support": ("tests/support", "tests/cli/test_command_line.py")}
"""Rooms whose nearest tests are more than the folder of the same name."""

ASIDE = {
    "scoring": (
        "tests/scoring/test_normalisation.py::"
        "test_a_new_normalisation_is_one_row_of_the_table_and_a_method_with_it_another",
        "tests/scoring/test_transforms.py::test_a_new_transform_is_one_row_of_the_table",
    )
}
"""Tests that run a copy of the package elsewhere, where mutmut finds no settings."""

UNDECIDED, SURVIVED, KILLED = (None,), (0,), (1, 2, 3)
NO_TEST = (5, 33)
STRICT = re.compile(r",? *strict=\w+,?")
LITERAL = re.compile(r'"(?:[^"\\]|\\.)*"')


@dataclass(frozen=True)
class Mutant:
    """One planted fault: its name, the change as a diff, and how the tests ended, if they did."""

    name: str
    diff: str
    exit_code: int | None

    @property
    def outcome(self) -> str:
        """Return one word about it; whatever is neither death nor survival took too long."""
        known = (
            (UNDECIDED, "not run"),
            (SURVIVED, "survived"),
            (KILLED, "killed"),
            (NO_TEST, "untested"),
        )
        return next((word for codes, word in known if self.exit_code in codes), "timed out")


def main() -> None:
    """Plant faults in a room, run its tests against each, and print the table's row."""
    options = _parser().parse_args()
    copy = options.work.resolve() / options.room.replace("/", "-")
    _carry(copy, options.room)
    os.chdir(copy)
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(copy / "mutants"), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    _generate()
    sample = list(_sample(options.sample, options.skip))
    again = SURVIVED + NO_TEST if options.again else ()
    due = [mutant for mutant in sample if mutant.exit_code in UNDECIDED + again]
    if due:
        _run(due)
    _report(list(_sample(options.sample, options.skip)), copy / "survivors.diff", options.room)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tools/mutation.sh", description=__doc__)
    parser.add_argument("room", help="folder of dtrak_stream, such as kernel or evaluation/lds")
    parser.add_argument("--sample", type=int, default=150, help="number of mutants tried")
    parser.add_argument("--skip", type=int, default=0, help="leave out so many first")
    parser.add_argument("--again", action="store_true", help="try survivors again, with all tests")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "mutation")
    return parser


def _carry(copy: Path, room: str) -> None:
    """Bring a copy of the project up to date; a file that is the same keeps its time."""
    for name in CARRIED:
        source = ROOT / name
        for path in [source] if source.is_file() else sorted(source.rglob("*")):
            target = copy / path.relative_to(ROOT)
            if not path.is_file() or "__pycache__" in path.parts:
                continue
            if not target.exists() or target.read_bytes() != path.read_bytes():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
    project = (ROOT / "pyproject.toml").read_text()
    (copy / "pyproject.toml").write_text(project + _settings(room))


def _settings(room: str) -> str:
    tests = ELSEWHERE.get(room, (f"tests/{room}",))
    options = ["-p", "no:xdist", "-p", "no:cacheprovider"]
    options += [f"--deselect={test}" for test in ASIDE.get(room, ())]
    return f"""
[tool.mutmut]
source_paths = ["dtrak_stream"]
only_mutate = ["dtrak_stream/{room}/*"]
also_copy = ["tools", "README.md"]
pytest_add_cli_args = {json.dumps(options)}
pytest_add_cli_args_test_selection = {json.dumps(tests)}
process_isolation = "forkserver"
timeout_multiplier = 6.0
timeout_constant = 10.0
use_git_change_detection = false
on_dependency_change = "ignore"
"""


def _generate() -> None:
    """Write the room with all its mutants to `mutants/`."""
    from mutmut import __main__ as mutmut

    Path("mutants").mkdir(exist_ok=True)
    mutmut.copy_src_dir()
    mutmut.copy_also_copy_files()
    mutmut.create_mutants(1)


def _run(mutants: list[Mutant]) -> None:
    """Run tests against each mutant, the quickest first.

    They are those that were seen to call the function that is mutated. All tests of the room are
    run for a mutant that survived before, as a fixture is seen under the first test that asks for
    it alone, and for a function that no test was seen to call: another process may call it.
    """
    from mutmut import __main__ as mutmut
    from mutmut.runners.harness import PytestRunner
    from mutmut.state import state

    in_any_order, collect = PytestRunner.run_tests, mutmut.collect_or_load_stats

    def quickest_first(self: Any, *, mutant_name: str | None, tests: Iterable[str]) -> int:
        seconds = state().duration_by_test
        ordered = sorted(tests, key=lambda test: seconds.get(test, 0.0))
        code: int = in_any_order(self, mutant_name=mutant_name, tests=ordered)
        return code

    def all_tests_where_few_were_seen(runner: Any, **options: Any) -> None:
        collect(runner, **options)
        tests = state().tests_by_mangled_function_name
        for mutant in mutants:
            function = mutant.name.partition("__mutmut_")[0]
            if mutant.exit_code is not None or not tests.get(function):
                tests[function] = set(state().duration_by_test)

    PytestRunner.run_tests = quickest_first
    mutmut.collect_or_load_stats = all_tests_where_few_were_seen
    names = [mutant.name for mutant in mutants]
    mutmut.cli.main(["run", "--max-children", "1", *names], standalone_mode=False)


def _sample(count: int, skipped: int) -> Iterator[Mutant]:
    """Yield `count` mutants in scope, in the order of their hashes, after those skipped."""
    from mutmut.mutation.diff_apply import get_diff_for_mutant

    found = 0
    for name, (path, exit_code) in sorted(_mutants().items(), key=lambda item: _place(item[0])):
        diff = get_diff_for_mutant(name, path=path)
        if found < skipped + count and not _is_out_of_scope(diff):
            found += 1
            if found > skipped:
                yield Mutant(name, diff, exit_code)


def _mutants() -> dict[str, tuple[str, int | None]]:
    """Return the file and the exit code of the tests of every mutant."""
    found = {}
    for meta in sorted(Path("mutants").rglob("*.py.meta")):
        path = str(meta.relative_to("mutants")).removesuffix(".meta")
        for name, code in json.loads(meta.read_text())["exit_code_by_key"].items():
            found[name] = (path, code)
    return found


def _place(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _is_out_of_scope(diff: str) -> bool:
    """Return whether a mutant is one that no test is asked to notice.

    That is the words of a text with blanks, which are meant for a reader; what a progress bar says,
    which is drawn after a second at the earliest; and `strict` of a `zip` over what is of one
    length by construction.
    """
    lines = [line for line in diff.splitlines()[2:] if line[:1] in "+-"]
    before, after = ("".join(x[1:] for x in lines if x[0] == sign) for sign in "-+")
    if "unit=" in before or "visible=" in before or STRICT.sub("", before) == STRICT.sub("", after):
        return True
    texts = zip(LITERAL.findall(before), LITERAL.findall(after), strict=False)
    if LITERAL.sub('""', before) != LITERAL.sub('""', after):
        return False
    return any(old != new and " " in old for old, new in texts)


def _report(sample: list[Mutant], survivors: Path, room: str) -> None:
    counts = Counter(mutant.outcome for mutant in sample)
    alive = [mutant for mutant in sample if mutant.outcome in ("survived", "untested")]
    survivors.write_text("\n\n".join(f"# {m.outcome}: {m.name}\n{m.diff}" for m in alive) + "\n")
    print(f"{room}: {len(sample)} of {len(_mutants())} mutants tried: ", end="")
    print(", ".join(f"{count} {word}" for word, count in sorted(counts.items())))
    print(f"survivors: {survivors}")


if __name__ == "__main__":
    main()
