"""How a GPU computes: in full precision and to the same bits each time, unless asked otherwise.

Left alone, torch lets cuDNN cut the factors of float32 convolutions to 11 bits (TF32), and take
algorithms that add in whatever order their threads finish.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.utils.deterministic

from dtrak_stream.support.progress import say

Result = TypeVar("Result")

# read by cuBLAS when it starts: with this much room of its own, it adds in one order
_CUBLAS_WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


_NO_ALGORITHM = re.compile(
    r"(\S+) does not have a deterministic implementation|is not deterministic because"
)

_refused: list[str] = []
"""What torch said, in this process, of an operation that has no algorithm that repeats itself."""


@dataclass(frozen=True)
class _Algorithms:
    """Which algorithms torch takes, process-wide.

    Attributes
    ----------
    torch_only_warns
        Whether an operation that has no algorithm that adds in a fixed order warns, or fails. Where
        it warns, attention takes the faster of its algorithms, which does not.
    cudnn_repeats
        Whether cuDNN takes only algorithms that add in a fixed order.
    cudnn_tries
        Whether cuDNN tries its algorithms and takes the fastest, which may be another each time.
    torch_repeats
        The same for torch's own.
    fills_memory
        Whether new memory is filled, at the price of writing it twice.
    """

    torch_only_warns: bool
    cudnn_repeats: bool = True
    cudnn_tries: bool = False
    torch_repeats: bool = True
    fills_memory: bool = False

    @classmethod
    def found(cls) -> _Algorithms:
        """Return what is set now."""
        return cls(
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.backends.cudnn.deterministic,
            torch.backends.cudnn.benchmark,
            torch.are_deterministic_algorithms_enabled(),
            torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
        )

    def set(self) -> None:
        """Set them."""
        torch.backends.cudnn.deterministic = self.cudnn_repeats
        torch.backends.cudnn.benchmark = self.cudnn_tries
        torch.use_deterministic_algorithms(self.torch_repeats, warn_only=self.torch_only_warns)
        torch.utils.deterministic.fill_uninitialized_memory = self.fills_memory  # type: ignore[attr-defined]


@contextmanager
def repeatable(
    device: torch.device, *, tf32: bool = False, backward: bool = False
) -> Iterator[None]:
    """Within it, what a GPU computes is the same to the bit each time; CPUs are so by themselves.

    An operation of torch that has no such algorithm warns by its name and is done all the same.
    The settings are those of the process, and are left as they were found.

    Parameters
    ----------
    device
        Where is computed.
    tf32
        Whether float32 factors may be cut to 11 bits, for the tensor cores: faster, with other
        results.
    backward
        Whether there are backward passes. Attention repeats its own only where all other
        operations have to repeat theirs: one that cannot fails, see `repeating_if_it_can`.
    """
    if device.type != "cuda":
        yield
        return
    os.environ.setdefault(*_CUBLAS_WORKSPACE)
    with _products(tf32=tf32), _convolutions(tf32=tf32):
        before = _Algorithms.found()
        _Algorithms(torch_only_warns=not backward or bool(_refused)).set()
        try:
            yield
        finally:
            before.set()


def repeating_if_it_can(compute: Callable[[], Result]) -> Result:
    """Return what `compute` gives; it is called again if it is found that it cannot repeat itself.

    From then on `repeatable` lets such operations pass in this process, and says so once.

    Parameters
    ----------
    compute
        Computes within `repeatable`. What it did before it failed must not count.
    """
    try:
        return compute()
    except RuntimeError as error:
        found = _NO_ALGORITHM.search(str(error))
        if found is None or _refused:
            raise
        _refused.append(str(error))
        what = found[1] or "an operation of the model"
        say(f"{what} has no algorithm that adds in a fixed order: last bits may differ each time")
    return compute()


@contextmanager
def _products(*, tf32: bool) -> Iterator[None]:
    """Cut the factors of float32 matrix products to 11 bits, or do not."""
    if _is_newly_set(torch.get_float32_matmul_precision):
        with _precision_of(torch.backends.cuda.matmul, tf32=tf32):
            yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def _convolutions(*, tf32: bool) -> Iterator[None]:
    """Cut the factors of float32 convolutions to 11 bits, or do not."""
    if _is_newly_set(lambda: torch.backends.cudnn.allow_tf32):
        with _precision_of(torch.backends.cudnn.conv, tf32=tf32):  # type: ignore[attr-defined]
            yield
        return
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


@contextmanager
def _precision_of(operations: Any, *, tf32: bool) -> Iterator[None]:
    before = operations.fp32_precision
    operations.fp32_precision = "tf32" if tf32 else "ieee"
    try:
        yield
    finally:
        operations.fp32_precision = before


def _is_newly_set(read_older: Callable[[], object]) -> bool:
    """Return whether `fp32_precision`, the newer kind of a setting, overrules an older one.

    Torch refuses to read the older one where both say different things. Where one for all of a
    GPU's operations was set, turning the older one off leaves that in force.
    """
    if getattr(torch.backends.cudnn, "fp32_precision", "none") != "none":
        return True
    try:
        read_older()
    except RuntimeError:
        return True
    return False
