"""Devices: memory that may be planned with, and memory that comes free after an error."""

from __future__ import annotations

import weakref

import pytest
import torch

from dtrak_stream.support.device import free_memory, let_go

GPU = torch.device("cuda:1")


def computed(held):
    """Fail while something large is held, as a batch that is too large does."""
    large = torch.zeros(3)
    held.append(weakref.ref(large))
    raise RuntimeError("CUDA out of memory")


def test_what_a_failed_computation_held_is_free_before_torch_gives_its_memory_back(monkeypatch):
    held: list[weakref.ref[torch.Tensor]] = []
    alive_at_that_time = []
    monkeypatch.setattr(
        torch.cuda, "empty_cache", lambda: alive_at_that_time.append(held[0]() is not None)
    )
    with pytest.raises(RuntimeError, match="out of memory") as caught:
        computed(held)
    assert held[0]() is not None
    let_go(caught.value, GPU)
    assert alive_at_that_time == [False]


def test_a_cpu_has_nothing_to_give_back(monkeypatch):
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: pytest.fail("there is no GPU"))
    let_go(RuntimeError("out of memory"), torch.device("cpu"))


def test_memory_that_torch_keeps_for_later_may_be_planned_with(monkeypatch):
    asked: list[torch.device] = []

    def told(value):
        def answer(device):
            asked.append(device)
            return value

        return answer

    monkeypatch.setattr(torch.cuda, "mem_get_info", told((1000, 5000)))
    monkeypatch.setattr(torch.cuda, "memory_reserved", told(700))
    monkeypatch.setattr(torch.cuda, "memory_allocated", told(300))
    assert free_memory(GPU) == 1400
    assert asked == [GPU] * 3
