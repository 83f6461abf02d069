"""A stand-in for a GPU: torch's `meta` device, whose tensors have shapes and no data.

Work for a GPU is queued, and the host goes on. It waits wherever it wants to know a number, and
where it hands over one from memory that is not pinned. On `meta` the first fails by itself, for
there are no numbers; the rest is found by looking at every operation.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

META = torch.device("meta")


class _Literals(TorchFunctionMode):
    """Refuses lists and numbers of the host that become tensors of the device on the way."""

    def __torch_function__(
        self, function: Any, types: Any, arguments: Any = (), options: Any = None
    ) -> Any:
        result = function(*arguments, **(options or {}))
        if function in (torch.tensor, torch.as_tensor, torch.asarray):
            assert not result.is_meta, "a tensor made of numbers waits for the device"
        if function in (Tensor.__getitem__, Tensor.__setitem__) and arguments[0].is_meta:
            places = arguments[1] if isinstance(arguments[1], tuple) else (arguments[1],)
            assert not any(isinstance(place, list) for place in places), "indexed by a list"
        return result


class Rehearsal(TorchDispatchMode):
    """Within it, operations on `meta` tensors fail where a GPU would make the host wait.

    Attributes
    ----------
    handed_over
        Tensors that went to the device, without waiting.
    brought_back
        Shapes of the tensors that came from it. Their numbers are zeros.
    """

    def __init__(self) -> None:
        super().__init__()
        self.handed_over = 0
        self.brought_back: list[tuple[int, ...]] = []
        self._literals = _Literals()

    def __enter__(self) -> Rehearsal:
        self._literals.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        self._literals.__exit__(*raised)

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Any = (), options: Any = None
    ) -> Any:
        options = options or {}
        given = [each for each in tree_leaves((arguments, options)) if isinstance(each, Tensor)]
        # the second is what inference mode leaves undone of `Tensor.to`
        if function in (torch.ops.aten._to_copy.default, torch.ops.aten.to.dtype_layout):
            return self._copied(arguments[0], options)
        assert function is not torch.ops.aten._local_scalar_dense.default or not any(
            each.is_meta for each in given
        ), "the host reads a number of the device"
        self._refuse_mixed(function, given)
        return function(*arguments, **options)

    def _copied(self, tensor: Tensor, options: dict[str, Any]) -> Tensor:
        wanted = torch.device(options.get("device") or tensor.device)
        if tensor.is_meta and wanted != META:
            self.brought_back.append(tuple(tensor.shape))
            return torch.zeros(tensor.shape, dtype=options.get("dtype") or tensor.dtype)
        if wanted == META and not tensor.is_meta:
            assert options.get("non_blocking"), f"a copy to the device waits: {tensor.shape}"
            self.handed_over += 1
        copied: Tensor = torch.ops.aten._to_copy.default(tensor, **options)
        return copied

    def _refuse_mixed(self, function: Any, given: list[Tensor]) -> None:
        """Refuse what a GPU cannot do, or only with a copy: a tensor of the host among its own."""
        if any(each.is_meta for each in given):
            host = [tuple(each.shape) for each in given if not each.is_meta]
            assert not host, f"{function} takes tensors {host} of the host among those of a device"
