"""The listing benchmark: every layout is measured, and nothing stays behind."""

from __future__ import annotations

import json

import pytest

from dtrak_stream.benchmark.listing.options import ListingConfig
from dtrak_stream.benchmark.listing.run import measure_listing
from dtrak_stream.data.folder import FolderSource
from dtrak_stream.errors import ConfigurationError


def test_each_layout_is_listed_and_removed(tmp_path, monkeypatch):
    work, out = tmp_path / "work", tmp_path / "out"
    made: dict[str, list[str]] = {}
    monkeypatch.setattr(
        "dtrak_stream.benchmark.listing.run.answer_of",
        lambda _, folder, where, remedy: (  # noqa: ARG005
            made.setdefault(where.split()[-1], FolderSource(type(work)(folder)).sample_ids(0, 12))
            and {"seconds": 2.0, "grown_bytes": 2**20}
        ),
    )
    config = ListingConfig(names=12, per_folder=10, repeats=1, work=work, out=out, quiet=True)
    page = measure_listing(config).path.read_text()
    assert "| flat | 2.0 | 166667 | 1.0 MiB |" in page
    assert made["flat"] == [f"image_{number}.png" for number in range(12)]
    assert made["folders"] == [f"part-{n // 10}/image_{n}.png" for n in range(12)]
    assert list(work.iterdir()) == []


def test_a_process_of_its_own_is_measured(tmp_path):
    config = ListingConfig(names=50, layouts=("flat",), repeats=1, out=tmp_path / "o", quiet=True)
    measure_listing(config)
    (flat,) = json.loads((tmp_path / "o.json").read_text())["layouts"]
    assert flat["seconds"] > 0
    assert flat["grown_bytes"] >= 0


@pytest.mark.parametrize("flag", ["names", "per_folder", "repeats"])
def test_nothing_to_measure_is_refused(flag):
    with pytest.raises(ConfigurationError, match=flag.replace("_", "-")):
        ListingConfig(**{flag: 0})  # type: ignore[arg-type]
