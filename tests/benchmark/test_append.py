"""The benchmark of changing stores: every step is taken, and what it leads to is compared."""

from __future__ import annotations

import json

import pytest

from dtrak_stream.benchmark.append import stages
from dtrak_stream.benchmark.append.options import AppendBenchConfig
from dtrak_stream.benchmark.append.run import measure_append
from dtrak_stream.errors import ConfigurationError


@pytest.fixture
def here(monkeypatch, capsys):
    """Take steps in this process, which need not load everything again."""

    def answer(module, told, **_):
        assert module == stages.__name__
        capsys.readouterr()
        stages.main(told)
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    monkeypatch.setattr("dtrak_stream.benchmark.append.run.answer_of", answer)


def test_changes_are_measured_beside_the_same_from_nothing(here, tmp_path):
    work = tmp_path / "work"
    config = AppendBenchConfig(
        rows=9000, dim=64, share=0.01, queries=3, work=work, out=tmp_path / "out", quiet=True
    )
    page = measure_append(config).path.read_text()
    assert "90 rows are appended" in page
    numbers = json.loads((tmp_path / "out.json").read_text())
    assert 0 < numbers["gram_difference"] < 1e-6
    assert numbers["score_difference"] < 1e-6
    assert set(numbers["seconds"]) >= {"Gram", "Gram, appended", "Gram, removed", "Gram, anew"}
    assert list(work.iterdir()) == []


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ConfigurationError, match="--share"):
        AppendBenchConfig(share=share)
