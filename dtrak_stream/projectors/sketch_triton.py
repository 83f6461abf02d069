"""The rotation sketch as one fused kernel for NVIDIA GPUs.

Each program owns some columns of one feature and walks through the rows of the sketch in order:
it reads each entry once, applies its sign bit and adds. Nothing is added by two programs, so
there are no atomics, and the sums are made in the order of the torch path: the same bits.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_COLUMNS = 256


@triton.jit  # type: ignore[untyped-decorator]
def _add_sketch(  # type: ignore[no-untyped-def] # noqa: ANN202
    block_ptr,  # noqa: ANN001
    block_stride,  # noqa: ANN001
    sign_ptr,  # noqa: ANN001
    shift_ptr,  # noqa: ANN001
    out_ptr,  # noqa: ANN001
    out_stride,  # noqa: ANN001
    offset,  # noqa: ANN001
    length,  # noqa: ANN001
    first_word,  # noqa: ANN001
    first_row,  # noqa: ANN001
    num_rows,  # noqa: ANN001
    proj_dim,  # noqa: ANN001
    columns: tl.constexpr,
):
    sample = tl.program_id(1).to(tl.int64)
    column = tl.program_id(0) * columns + tl.arange(0, columns)
    here = column < proj_dim
    place = out_ptr + sample * out_stride + column
    total = tl.load(place, mask=here, other=0.0)
    for row in range(num_rows):
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
    grid = (triton.cdiv(proj_dim, _COLUMNS), rows)
    with torch.cuda.device_of(block):  # type: ignore[no-untyped-call]
        _add_sketch[grid](
            block,
            block.stride(0),
            sign_words,
            shifts,
            out,
            out.stride(0),
            offset,
            block.shape[1],
            first_word,
            first_row,
            len(shifts),
            proj_dim,
            columns=_COLUMNS,
        )
