"""How a GPU is told to compute. The settings can be read and set without one."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings

import pytest
import torch

from dtrak_stream.support import arithmetic
from dtrak_stream.support.arithmetic import repeatable, repeating_if_it_can

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
    monkeypatch.setattr(arithmetic, "_refused", [])
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


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
@pytest.mark.parametrize("tf32", [False, True])
def test_a_precision_of_products_that_was_chosen_before_comes_back(precision, tf32):
    torch.set_float32_matmul_precision(precision)
    try:
        with repeatable(GPU, tf32=tf32):
            assert settings()["products in tf32"] == tf32
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision("highest")


NEWER = """
import warnings
warnings.simplefilter("error")
import torch
from dtrak_stream.support.arithmetic import repeatable

OWNERS = {
    "convolutions": torch.backends.cudnn.conv,
    "products": torch.backends.cuda.matmul,
    "a kind of GPU": torch.backends.cudnn,
    "all": torch.backends,
}

def cut():
    return [OWNERS[name].fp32_precision == "tf32" for name in ("convolutions", "products")]

def check(name, precision):
    OWNERS[name].fp32_precision = precision
    before = cut()
    for tf32 in (False, True):
        with repeatable(torch.device("cuda"), tf32=tf32):
            assert cut() == [tf32, tf32], (name, precision, tf32, cut())
        assert cut() == before, (name, precision, tf32, cut(), before)
    OWNERS[name].fp32_precision = "none"

check("all", "tf32")
check("a kind of GPU", "tf32")
check("products", "tf32")
check("convolutions", "ieee")
"""


@pytest.mark.skipif(not hasattr(torch.backends, "fp32_precision"), reason="an older torch")
def test_settings_of_the_newer_kind_are_obeyed_and_come_back():
    """In a process of its own: torch cannot quite forget that they were set."""
    done = subprocess.run(
        [sys.executable, "-c", NEWER], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def without_an_algorithm():
    """Do what torch has no algorithm for that repeats itself, on any device."""
    numbers = torch.zeros(3)
    with repeatable(GPU, backward=True):
        return numbers.put_(torch.tensor([1]), torch.tensor([2.0])).tolist()


def test_backward_passes_must_repeat_themselves():
    with repeatable(GPU, backward=True):
        assert not settings()["torch only warns"]
    with pytest.raises(RuntimeError, match="put_ does not have a deterministic implementation"):
        without_an_algorithm()


def test_what_cannot_repeat_itself_is_done_all_the_same_and_said_once(capsys):
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert repeating_if_it_can(without_an_algorithm) == [0, 2, 0]
        assert without_an_algorithm() == [0, 2, 0]
    assert any("put_" in str(each.message) for each in warned)
    said = capsys.readouterr().err
    assert said.count("put_ has no algorithm that adds in a fixed order") == 1


def test_other_errors_are_not_tried_again():
    calls = []

    def fails():
        calls.append(1)
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal"):
        repeating_if_it_can(fails)
    assert calls == [1]
