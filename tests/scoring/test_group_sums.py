"""Scores of groups of training images, as a scoring run sums them."""

from __future__ import annotations

import dataclasses

import numpy as np

from dtrak_stream.groups.options import GroupOptions
from dtrak_stream.scoring.run import score
from tests.scoring.conftest import attribution_of, close, read, whole_numbers


def test_an_image_that_was_quarantined_is_in_no_sum_and_no_count(tmp_path):
    train = whole_numbers(12, 64)
    train[4] = np.nan
    run = attribution_of(tmp_path, train, whole_numbers(3, 64, 1))
    labels = np.arange(12) % 3  # image 4 is one of group 1
    table = tmp_path / "groups.csv"
    table.write_text("".join(f"train-{row},g{label}\n" for row, label in enumerate(labels)))
    groups = GroupOptions(groups=table)
    score(dataclasses.replace(run.config(damping="0.1"), groups=groups))
    found = read(run.out)
    assert found["group_name"].tolist() == [b"g0", b"g1", b"g2"]
    assert found["group_count"].tolist() == [4, 3, 4]
    sums = [np.nansum(found["scores"][:, labels == label], axis=1) for label in range(3)]
    assert close(found["group_score"], np.stack(sums, axis=1))
