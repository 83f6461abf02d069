"""The public names: found when asked for, and the same for a type checker as for Python."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys

import pytest

import dtrak_stream


def imported_for_types() -> dict[str, str]:
    """The module that each name is imported from below `if TYPE_CHECKING`."""
    (branch,) = [
        node
        for node in ast.parse(inspect.getsource(dtrak_stream)).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    found: dict[str, str] = {}
    for node in branch.body:
        assert isinstance(node, ast.ImportFrom)
        found |= {alias.name: str(node.module) for alias in node.names}
    return found


def test_type_checkers_and_python_find_the_same_names_in_the_same_modules():
    homes = {name: f"dtrak_stream.{home}" for name, home in dtrak_stream._HOMES.items()}
    assert imported_for_types() == homes
    assert set(dtrak_stream.__all__) == set(homes)


@pytest.mark.parametrize("name", dtrak_stream.__all__)
def test_a_public_name_is_what_its_module_defines(name):
    assert getattr(dtrak_stream, name).__module__ == f"dtrak_stream.{dtrak_stream._HOMES[name]}"


def test_names_are_listed_before_they_are_asked_for():
    code = "import dtrak_stream; print(*dir(dtrak_stream))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {*dtrak_stream.__all__, "__version__"} <= set(told.stdout.split())


def test_a_name_that_is_not_there_is_missed_as_in_any_module():
    with pytest.raises(AttributeError, match="module 'dtrak_stream' has no attribute 'nothing'"):
        dtrak_stream.nothing  # noqa: B018


def test_a_module_of_a_room_may_be_imported_under_a_name_of_its_own():
    import dtrak_stream.scoring.plan as plan

    assert inspect.ismodule(plan)
