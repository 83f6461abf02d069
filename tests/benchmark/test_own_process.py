"""Measurements in processes of their own: what went wrong there is told."""

from __future__ import annotations

import pytest

from dtrak_stream.benchmark.own_process import MeasuringFailedError, answer_of


def test_a_process_that_fails_is_told_with_its_end():
    with pytest.raises(MeasuringFailedError, match=r"here: exit code 1: .*No module named"):
        answer_of("no_such_module", {}, where="here", remedy="none")
