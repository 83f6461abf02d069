"""Reading the weights of a network into half precision, a bounded part of its files at a time.

What is never differentiated is rounded as it is read: no more of a network is ever in float32 than
what stays so. The numbers are those of `keep_in_half` after all had been read.
"""

from __future__ import annotations

import zipfile
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from dtrak_stream.model.half_precision import rounded_weights
from dtrak_stream.model.parameters import matching
from dtrak_stream.model.weight_files import WeightFiles, files_of, refuse_other_weights

_MAPPED_BYTES = 2**26  # of a file, in one part


def fill_in_half(
    outline: nn.Module, folder: Path, weights: WeightFiles, half: torch.dtype, *, whole: str
) -> nn.Module:
    """Give a network its weights: in half precision those of layers, in float32 all others.

    Parameters
    ----------
    outline
        The network without weights; see `network_outline`.
    folder, weights
        Where they lie.
    half
        The type.
    whole
        Regular expression of the names of those that are differentiated, which are kept in
        float32; none are if it is empty.

    Raises
    ------
    ModelError
        If a weight is missing, or the files hold one that the network has no place for.
    ConfigurationError
        If `whole` is malformed.
    """
    rounded = rounded_weights(outline)
    if whole:
        rounded -= matching(rounded, whole)
    files = files_of(folder, weights)
    names = {path: _names_in(path) for path in files}
    renamed = _renamed(outline, [name for some in names.values() for name in some])
    own = outline.state_dict().keys()
    problems = {"missing_keys": own - renamed.keys(), "unexpected_keys": renamed.keys() - own}
    refuse_other_weights(problems, folder if weights.file is None else weights.file)
    places = {saved: name for name, saved in renamed.items()}
    for path in files:
        for tensors in _in_parts(path, names[path]):
            kept = {
                places[saved]: _as_kept(each, half if places[saved] in rounded else torch.float32)
                for saved, each in tensors
            }
            outline.load_state_dict(kept, strict=False, assign=True)
    return outline.requires_grad_(requires_grad=False)


def _as_kept(tensor: Tensor, kind: torch.dtype) -> Tensor:
    """Return a copy of what lies in a file, of a type; of whole numbers their own."""
    return tensor.to(kind if tensor.is_floating_point() else tensor.dtype, copy=True)


def _renamed(network: Any, saved: list[str]) -> dict[str, str]:
    """Return own name to saved name, as diffusers reads names of its first versions."""
    names = {name: name for name in saved}
    fix = getattr(network, "_fix_state_dict_keys_on_load", None)
    if fix is not None:
        fix(names)
    return names


def _names_in(path: Path) -> list[str]:
    if path.suffix != ".safetensors":
        return list(_pickled(path))
    with safe_open(path, framework="pt") as file:
        return list(file.keys())


def _in_parts(path: Path, names: list[str]) -> Iterator[Iterator[tuple[str, Tensor]]]:
    """Yield the tensors of a file in parts of a bounded size, to be taken one after the other.

    The file is let go of after each part: what was read of one that is mapped is in memory.
    """
    if path.suffix != ".safetensors":
        yield iter(_pickled(path).items())
        return
    waiting = deque(names)
    while waiting:
        with safe_open(path, framework="pt") as file:
            yield _next_part(file, waiting)


def _next_part(file: Any, waiting: deque[str]) -> Iterator[tuple[str, Tensor]]:
    taken = 0
    while waiting and taken < _MAPPED_BYTES:
        name = waiting.popleft()
        tensor = file.get_tensor(name)
        taken += tensor.nbytes
        yield name, tensor


def _pickled(path: Path) -> Mapping[str, Tensor]:
    """Return the tensors of a pickle, left in their file where its format allows that."""
    tensors: Mapping[str, Tensor] = torch.load(
        path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
    )
    return tensors
