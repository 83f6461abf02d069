"""Groups of a small attribution, scored with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dtrak_stream.groups.options import GroupOptions
from dtrak_stream.groups.read import read_groups
from dtrak_stream.groups.table import GroupTable
from dtrak_stream.scoring.options import ScoreConfig, ScoreOptions, ScoreResult
from dtrak_stream.scoring.run import score
from tests.scoring.conftest import Attribution


def write_groups(path: Path, labels: Sequence[str | None], name: str = "train") -> Path:
    """Write a CSV with the group of each sample, in an order of its own."""
    lines = [f"{name}-{row},{label}" for row, label in enumerate(labels) if label is not None]
    np.random.default_rng(0).shuffle(lines)
    path.write_text("\n".join(["sample_id,group", *lines]) + "\n")
    return path


def table_of(path: Path, ids: Sequence[str], *, memory_limit: int = 2**30) -> GroupTable:
    encoded = [name.encode() for name in ids]
    options = GroupOptions(groups=path)
    return read_groups(options, encoded, memory_limit=memory_limit, visible=False)


def score_groups(
    attribution: Attribution,
    groups: GroupOptions,
    *,
    out: Path | None = None,
    memory_limit: str = "1GiB",
    **options: Any,
) -> ScoreResult:
    return score(
        ScoreConfig(
            train=attribution.train.layout.root,
            query=attribution.query.layout.root,
            gram=attribution.gram,
            out=out or attribution.out,
            options=ScoreOptions(**options),
            memory_limit=memory_limit,
            quiet=True,
            groups=groups,
        )
    )
