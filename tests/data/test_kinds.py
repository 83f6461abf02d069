"""The table of kinds of sources: each is found by what it is written like, and told in help."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from dtrak_stream.attribution.configuration import AttributeConfig
from dtrak_stream.data.kinds import KINDS, SourceKind
from dtrak_stream.data.places import locate
from dtrak_stream.errors import InputError
from dtrak_stream.featurizing.options import FeaturizeConfig
from dtrak_stream.support.late_imports import imported
from dtrak_stream.training.configuration import TrainingConfig
from tests.commands_here import described

ROWS = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def one_of(kind: SourceKind, folder: Path) -> str:
    """Make what looks like a source of this kind, and name it."""
    if kind.beginning:
        return f"{kind.beginning}something"
    for name in kind.markers[0] if kind.markers else ():
        (folder / name).write_text(json.dumps({}))
    if kind.suffixes:
        path = folder / f"images{kind.suffixes[0]}"
        path.write_bytes(b"something")
        return f"{path}:key" if kind.has_keys else str(path)
    return str(folder)


@ROWS
def test_a_source_is_found_to_be_of_its_kind(kind: SourceKind, tmp_path: Path) -> None:
    place = locate(one_of(kind, tmp_path))
    assert place.kind == kind.name
    assert place.key == ("key" if kind.has_keys else None)
    assert bool(place.paths) == (not kind.beginning)


@ROWS
def test_what_opens_a_kind_is_where_the_table_says(kind: SourceKind) -> None:
    assert callable(imported(kind.place))


@ROWS
@pytest.mark.parametrize(
    ("options", "flag"),
    [(AttributeConfig, "--train"), (FeaturizeConfig, "--images"), (TrainingConfig, "--images")],
)
def test_help_tells_how_each_kind_is_written(options: type, flag: str, kind: SourceKind) -> None:
    assert kind.written in described(options)[flag]


def test_no_two_kinds_are_told_by_the_same() -> None:
    signs = [
        sign
        for kind in KINDS.values()
        for sign in (kind.beginning, *kind.suffixes, *kind.markers)
        if sign
    ]
    assert [sign for sign, count in Counter(signs).items() if count > 1] == []
    assert [kind.name for kind in KINDS.values() if not _has_a_sign(kind)] == ["folder"]


def _has_a_sign(kind: SourceKind) -> bool:
    return bool(kind.beginning or kind.suffixes or kind.markers)


def test_something_of_no_kind_is_refused_with_all_of_them(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no images")
    with pytest.raises(InputError) as refusal:
        locate(str(tmp_path / "notes.txt"))
    assert [kind.written for kind in KINDS.values() if kind.written not in str(refusal.value)] == []
