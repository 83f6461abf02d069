"""Taps on layers: during a backward pass, each hands on what its layer was given and got back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from dtrak_stream.model.half_precision import as_rounded

Handler = Callable[[nn.Module, Tensor, Tensor], None]
"""(layer, input (rows, ...), gradient of its output (rows, ...))."""


class _Tap(torch.autograd.Function):
    """The identity on a layer's output, whose backward pass calls a handler.

    The layer's input is kept by `save_for_backward`, so that gradient checkpointing drops and
    recomputes it like any other activation. The anchor is a scalar that wants a gradient: with
    it, the backward pass comes by even if nothing before this layer wants one.
    """

    @staticmethod
    def forward(
        ctx: Any, output: Tensor, activation: Tensor, _anchor: Tensor, handle: Callable[..., None]
    ) -> Tensor:
        ctx.save_for_backward(activation)
        ctx.handle = handle
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, None, None]:
        (activation,) = ctx.saved_tensors
        ctx.handle(activation, gradient)
        return (gradient if ctx.needs_input_grad[0] else None), None, None, None


class Taps:
    """Taps on some layers of a network, silent outside `forward` and `backward`.

    Parameters
    ----------
    layers
        The layers to tap.
    device
        Where the network is.
    """

    def __init__(self, layers: list[nn.Module], device: torch.device) -> None:
        self._open = False
        self._handler: Handler | None = None
        self._anchor = torch.zeros((), device=device, requires_grad=True)
        self._handles = [
            layer.register_forward_hook(self._tap, with_kwargs=True) for layer in layers
        ]

    def remove(self) -> None:
        """Take all taps off."""
        for handle in self._handles:
            handle.remove()

    def forward(self, compute: Callable[[], Tensor]) -> Tensor:
        """Return what `compute` gives, with the taps in its graph."""
        self._open = True
        try:
            return compute()
        finally:
            self._open = False

    def backward(self, value: Tensor, handler: Handler, *, retain_graph: bool = False) -> None:
        """Run the backward pass of the scalar `value`, calling `handler` for each tapped layer.

        With `retain_graph`, another backward pass may follow over the same forward pass.
        """
        if not value.requires_grad:  # no tapped layer had a part in it
            return
        # checkpointed layers run again during the backward pass
        self._open, self._handler = True, handler
        try:
            torch.autograd.grad(value, self._anchor, allow_unused=True, retain_graph=retain_graph)
        finally:
            self._open, self._handler = False, None

    def _tap(
        self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> Any:
        if not (self._open and torch.is_grad_enabled() and isinstance(output, Tensor)):
            return output
        activation = next((x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)), None)
        if activation is None:
            return output

        def handle(activation: Tensor, gradient: Tensor) -> None:
            if self._handler is not None:
                self._handler(layer, activation, gradient)

        kept = as_rounded(layer, activation.detach())
        return _Tap.apply(output, kept, self._anchor, handle)  # type: ignore[no-untyped-call]
