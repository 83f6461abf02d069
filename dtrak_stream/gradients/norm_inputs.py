"""Inputs of group norms that need no gradient of their own, and are given one all the same.

On the CPU, torch (seen in 2.13) crashes the process in the backward pass of a channels-last
GroupNorm whose parameters want a gradient and whose input does not, as it happens when all that
comes before is frozen. The gradient of that input is computed, then, and the backward pass ends
there: what lies before is not gone through.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


def norms_of(network: nn.Module, chosen: Mapping[str, nn.Parameter]) -> list[nn.GroupNorm]:
    """Return the group norms that own a parameter whose gradient is wanted."""
    wanted = {id(parameter) for parameter in chosen.values()}
    norms = (module for module in network.modules() if isinstance(module, nn.GroupNorm))
    return [norm for norm in norms if any(id(each) in wanted for each in norm.parameters())]


@contextmanager
def given_gradients(norms: list[nn.GroupNorm]) -> Iterator[list[Tensor]]:
    """Let inputs of these norms that need no gradient need one; yield them as they come by.

    What is yielded must be among the inputs that the backward pass is asked about.
    """
    given: list[Tensor] = []

    def give(_norm: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        if not args or args[0].requires_grad:
            return args
        given.append(args[0].detach().requires_grad_())
        return (given[-1], *args[1:])

    handles = [norm.register_forward_pre_hook(give) for norm in norms]
    try:
        yield given
    finally:
        for handle in handles:
            handle.remove()
