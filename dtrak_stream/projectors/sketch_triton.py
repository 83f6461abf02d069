"""The rotation sketch as one fused kernel for NVIDIA GPUs.

Each program owns some columns of one feature and walks in order through some rows of the sketch:
it reads each entry once, applies its sign bit and adds. Nothing is added by two programs, so
there are no atomics. A slice of few rows is added in the order of the torch path, to the same
bits. A longer one is cut into parts of `_PART` rows, each summed by a program of its own: so a
single sample of a large model keeps a GPU busy. Their sums, a small share of what was read, are
added in order afterwards. How a slice is cut depends on nothing but its place and k, so bits do
not depend on the GPU or on how many samples come together.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_COLUMNS = 256
_PART = 32
_FEW_COLUMNS = 32


@triton.jit  # type: ignore[untyped-decorator]
def _add_parts(  # type: ignore[no-untyped-def] # noqa: ANN202
    block_ptr,  # noqa: ANN001
    block_stride,  # noqa: ANN001
    sign_ptr,  # noqa: ANN001
    shift_ptr,  # noqa: ANN001
    out_ptr,  # noqa: ANN001
    part_stride,  # noqa: ANN001
    sample_stride,  # noqa: ANN001
    offset,  # noqa: ANN001
    length,  # noqa: ANN001
    first_word,  # noqa: ANN001
    first_row,  # noqa: ANN001
    num_rows,  # noqa: ANN001
    proj_dim,  # noqa: ANN001
    columns: tl.constexpr,
    part_rows: tl.constexpr,
):
    """Add the rows of each part to its place in `out` (parts, samples, k)."""
    groups = tl.cdiv(proj_dim, columns)
    part = tl.program_id(0) // groups
    sample = tl.program_id(1).to(tl.int64)
    column = tl.program_id(0) % groups * columns + tl.arange(0, columns)
    here = column < proj_dim
    place = out_ptr + part.to(tl.int64) * part_stride + sample * sample_stride + column
    total = tl.load(place, mask=here, other=0.0)
    start = part * part_rows
    for row in range(start, tl.minimum(start + part_rows, num_rows)):
        shift = tl.load(shift_ptr + row)
        within = (column - shift + proj_dim) % proj_dim
        index = (first_row + row).to(tl.int64) * proj_dim + within
        inside = here & (index >= offset) & (index < offset + length)
        value = tl.load(
            block_ptr + sample * block_stride + (index - offset), mask=inside, other=0.0
        )
        word = tl.load(sign_ptr + (index // 32 - first_word), mask=inside, other=0)
        negative = (word >> (index % 32).to(tl.int32)) & 1
        total += tl.where(negative == 1, -value, value)
    tl.store(place, total, mask=here)


@triton.jit  # type: ignore[untyped-decorator]
def _add_up(  # type: ignore[no-untyped-def] # noqa: ANN202
    sums_ptr,  # noqa: ANN001
    part_stride,  # noqa: ANN001
    sample_stride,  # noqa: ANN001
    out_ptr,  # noqa: ANN001
    out_stride,  # noqa: ANN001
    num_parts,  # noqa: ANN001
    proj_dim,  # noqa: ANN001
    columns: tl.constexpr,
):
    """Add the sums (parts, samples, k) of the parts to `out` (samples, k), in order."""
    sample = tl.program_id(1).to(tl.int64)
    column = tl.program_id(0) * columns + tl.arange(0, columns)
    here = column < proj_dim
    total = tl.load(out_ptr + sample * out_stride + column, mask=here, other=0.0)
    place = sums_ptr + sample * sample_stride + column
    for _ in range(num_parts):
        total += tl.load(place, mask=here, other=0.0)
        place += part_stride
    tl.store(out_ptr + sample * out_stride + column, total, mask=here)


def add_sketch(
    block: Tensor,
    offset: int,
    out: Tensor,
    *,
    sign_words: Tensor,
    first_word: int,
    shifts: Tensor,
    first_row: int,
) -> None:
    """Add the sketch of `block` to `out`.

    Parameters
    ----------
    block
        (rows, length) float32, entries of a row side by side.
    offset
        Place of the slice in the flat parameter vector.
    out
        (rows, k) float32, added to in place.
    sign_words
        int32: 32 sign bits each, lowest first; the first one is word `first_word` of the vector.
    shifts
        (sketch rows that the slice reaches,) int32 rotations; the first one is of `first_row`.
    """
    rows, proj_dim = out.shape
    parts, groups = triton.cdiv(len(shifts), _PART), triton.cdiv(proj_dim, _COLUMNS)
    # a single part is added to the features at once
    sums = out[None] if parts == 1 else out.new_zeros(parts, rows, proj_dim)
    with torch.cuda.device_of(block):  # type: ignore[no-untyped-call]
        _add_parts[parts * groups, rows](
            block,
            block.stride(0),
            sign_words,
            shifts,
            sums,
            sums.stride(0),
            sums.stride(1),
            offset,
            block.shape[1],
            first_word,
            first_row,
            len(shifts),
            proj_dim,
            columns=_COLUMNS,
            part_rows=_PART,
        )
        if parts > 1:
            _add_up[triton.cdiv(proj_dim, _FEW_COLUMNS), rows](
                sums,
                sums.stride(0),
                sums.stride(1),
                out,
                out.stride(0),
                parts,
                proj_dim,
                columns=_FEW_COLUMNS,
            )
