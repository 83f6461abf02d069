"""How a GPU is told to compute. The settings can be read and set without one."""

from __future__ import annotations

import os

import pytest
import torch

from dtrak_stream.support.arithmetic import repeatable

GPU = torch.device("cuda")


def settings():
    return {
        "convolutions in tf32": torch.backends.cudnn.allow_tf32,
        "products in tf32": torch.backends.cuda.matmul.allow_tf32,
        "cudnn repeats": torch.backends.cudnn.deterministic,
        "cudnn tries": torch.backends.cudnn.benchmark,
        "torch repeats": torch.are_deterministic_algorithms_enabled(),
        "torch only warns": torch.is_deterministic_algorithms_warn_only_enabled(),
        "fills memory": torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
    }


@pytest.fixture(autouse=True)
def as_found(monkeypatch):
    """Keep what a test sets from the others."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = settings()
    yield
    assert settings() == before


@pytest.mark.parametrize("tf32", [False, True])
def test_a_gpu_repeats_itself_and_cuts_factors_only_if_asked(tf32):
    with repeatable(GPU, tf32=tf32):
        assert settings() == {
            "convolutions in tf32": tf32,
            "products in tf32": tf32,
            "cudnn repeats": True,
            "cudnn tries": False,
            "torch repeats": True,
            "torch only warns": True,
            "fills memory": False,
        }
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_settings_of_the_process_come_back_after_an_error():
    before = settings()
    with pytest.raises(ValueError, match="no"), repeatable(GPU):
        raise ValueError("no")
    assert settings() == before


def test_a_gpu_inside_another_is_set_as_the_inner_one_says():
    with repeatable(GPU, tf32=True):
        with repeatable(GPU):
            assert not settings()["convolutions in tf32"]
        assert settings()["convolutions in tf32"]


def test_a_cpu_leaves_everything_alone():
    before = settings()
    with repeatable(torch.device("cpu"), tf32=True):
        assert settings() == before
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
