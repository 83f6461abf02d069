"""Sizes: read as they are commonly written, and written so that they can be read."""

from __future__ import annotations

import psutil
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.support.memory import (
    format_enough,
    format_size,
    is_out_of_memory,
    parse_size,
    usable_memory,
)

sizes = st.integers(0, 2**60) | st.builds(
    lambda power, offset: max(0, 1024**power + offset), st.integers(0, 5), st.integers(-60, 60)
)


def parsed(text):
    return parse_size(text, flag="--memory-limit")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1000000", 1_000_000),
        ("0", 0),
        ("12 B", 12),
        ("500MB", 500_000_000),
        ("500 mb", 500_000_000),
        ("4GiB", 4 * 2**30),
        (" 4 gib ", 4 * 2**30),
        ("4G", 4_000_000_000),
        ("4Gi", 4 * 2**30),
        ("1.5KiB", 1536),
        ("2TB", 2 * 10**12),
        ("0.25TiB", 2**38),
    ],
)
def test_sizes_are_read(text, size):
    assert parsed(text) == size


@pytest.mark.parametrize(
    "text", ["", "lots", "-1", "4 4", "4XB", "1e9", "GiB", ".5G", "4GiBs", "nan", "4,5G"]
)
def test_what_is_no_size_is_refused_by_the_flag_it_stands_at(text):
    with pytest.raises(ConfigurationError) as refusal:
        parse_size(text, flag="--some-limit")
    assert f"--some-limit {text}: not a size; write a size such as 4GiB" in str(refusal.value)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536.0, "1.5 KiB"),
        (10 * 2**20, "10.0 MiB"),
        (3.2 * 2**30, "3.2 GiB"),
        (2**40, "1.0 TiB"),
        (2**52, "4096.0 TiB"),
    ],
)
def test_sizes_are_written_for_a_reader(size, text):
    assert format_size(size) == text


@given(sizes)
def test_what_is_written_reads_back_to_its_last_digit(size):
    assert abs(parsed(format_size(size)) - size) <= 0.0501 * max(1024, size)
    assert parsed(str(size)) == size


@given(sizes)
def test_what_is_written_reads_back_exactly_if_it_is_a_whole_number_of_units(size):
    unit = 1024 ** max(power for power in range(5) if 1024**power <= max(1, size))
    whole = size // unit * unit
    assert parsed(format_size(whole)) == whole


@given(sizes)
@example(2**30 + 1)
@example(2**20 - 1)
def test_a_size_to_ask_for_is_enough_and_little_more(size):
    asked = parsed(format_enough(size))
    assert size <= asked <= size + 0.11 * max(1024, size)
    assert " " not in format_enough(size)  # it is pasted into a command line


def test_usable_memory_leaves_some_to_others():
    assert 0 < usable_memory() < psutil.virtual_memory().total


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("Triton Error [CUDA]: out of memory"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED"),
        RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"),
    ],
)
def test_lack_of_memory_is_recognised_whoever_says_it(error):
    assert is_out_of_memory(error)


def test_lack_of_memory_on_a_cpu_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED"),
        RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"),
        RuntimeError("out of resource: shared memory, Required: 262144, Hardware limit: 232448"),
        ValueError("a folder called out of memory"),
    ],
)
def test_other_errors_are_no_lack_of_memory(error):
    assert not is_out_of_memory(error)
