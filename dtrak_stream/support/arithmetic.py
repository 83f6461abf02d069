"""How a GPU computes: in full precision and to the same bits each time, unless asked otherwise.

Left alone, torch lets cuDNN cut the factors of float32 convolutions to 11 bits (TF32), and take
algorithms that add in whatever order their threads finish.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.utils.deterministic

# read by cuBLAS when it starts: with this much room of its own, it adds in one order
_CUBLAS_WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@dataclass(frozen=True)
class _Settings:
    """What torch has settings for, process-wide.

    Attributes
    ----------
    convolution_tf32, product_tf32
        Whether the factors of float32 convolutions and matrix products are cut to 11 bits.
    cudnn_repeats
        Whether cuDNN takes only algorithms that add in a fixed order.
    cudnn_tries
        Whether cuDNN tries its algorithms and takes the fastest, which may be another each time.
    torch_repeats, torch_only_warns
        The same for torch's own; and whether an operation that has none warns, or fails.
    fills_memory
        Whether new memory is filled, at the price of writing it twice.
    """

    convolution_tf32: bool
    product_tf32: bool
    cudnn_repeats: bool = True
    cudnn_tries: bool = False
    torch_repeats: bool = True
    torch_only_warns: bool = True
    fills_memory: bool = False

    @classmethod
    def found(cls) -> _Settings:
        """Return what is set now."""
        return cls(
            torch.backends.cudnn.allow_tf32,
            torch.backends.cuda.matmul.allow_tf32,
            torch.backends.cudnn.deterministic,
            torch.backends.cudnn.benchmark,
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
        )

    def set(self) -> None:
        """Set them."""
        torch.backends.cudnn.allow_tf32 = self.convolution_tf32
        torch.backends.cuda.matmul.allow_tf32 = self.product_tf32
        torch.backends.cudnn.deterministic = self.cudnn_repeats
        torch.backends.cudnn.benchmark = self.cudnn_tries
        torch.use_deterministic_algorithms(self.torch_repeats, warn_only=self.torch_only_warns)
        torch.utils.deterministic.fill_uninitialized_memory = self.fills_memory  # type: ignore[attr-defined]


@contextmanager
def repeatable(device: torch.device, *, tf32: bool = False) -> Iterator[None]:
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
    """
    if device.type != "cuda":
        yield
        return
    os.environ.setdefault(*_CUBLAS_WORKSPACE)
    before = _Settings.found()
    _Settings(convolution_tf32=tf32, product_tf32=tf32).set()
    try:
        yield
    finally:
        before.set()
