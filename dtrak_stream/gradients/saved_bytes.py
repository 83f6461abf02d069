"""How much memory a forward pass keeps for its backward pass, counted by autograd itself."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def bytes_saved(compute: Callable[[], object], network: nn.Module) -> int:
    """Return how many bytes `compute` makes autograd keep, besides the network's own weights.

    Parameters
    ----------
    compute
        Runs the network, with gradients.
    network
        Whose weights are not counted.
    """
    weights = {weight.data_ptr() for weight in (*network.parameters(), *network.buffers())}
    kept: dict[int, int] = {}
    held: list[Tensor] = []  # so that no memory is given out twice

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
            held.append(tensor.detach())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        compute()
    return sum(kept.values())
