"""Reading a network of diffusers from its folder, to the last option and the last weight."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from dtrak_stream.errors import ModelError
from dtrak_stream.model.config_files import read_config, saved_class
from dtrak_stream.model.model_folder import AVERAGING_OPTIONS, NETWORK_FILE
from dtrak_stream.model.weight_files import WeightFiles, refuse_other_weights


def network_outline(class_name: str, folder: Path) -> nn.Module:
    """Return the network of a class of diffusers as its configuration says, without weights.

    Its parameters have shapes and no numbers (they are on torch's `meta` device); buffers that no
    file holds are as they are to be.

    Parameters
    ----------
    class_name
        As diffusers calls it.
    folder
        Its configuration; no file of weights is opened.

    Raises
    ------
    ModelError
        If the folder is one of another class, or has options that this class lacks.
    """
    import diffusers  # takes longer than all else together

    known = getattr(diffusers, class_name)
    _refuse_other_network(folder, known)
    with _silenced():
        with torch.device("meta"):
            outline: nn.Module = known.from_config(_configuration(folder))
        if not any(buffer.is_meta for buffer in outline.buffers()):
            return outline
        with _parameters_without_numbers():
            return cast(nn.Module, known.from_config(_configuration(folder)))


def load_network(
    outline: nn.Module, folder: Path, weights: WeightFiles, dtype: torch.dtype
) -> nn.Module:
    """Return a network of diffusers with its weights, on the CPU.

    Parameters
    ----------
    outline
        The network without weights; see `network_outline`.
    folder
        Its configuration and weights.
    weights
        Which of the weights.
    dtype
        The type they are turned into.

    Raises
    ------
    ModelError
        If the folder has weights that the network lacks, or lacks some that it has.
    """
    known: Any = type(outline)
    with _silenced():
        if weights.file is not None:
            return _load_one_file(known, folder, weights.file).to(dtype)
        network, report = known.from_pretrained(
            folder,
            variant=weights.variant,
            torch_dtype=dtype,
            use_safetensors=weights.ending == "safetensors",
            local_files_only=True,
            low_cpu_mem_usage=False,  # the other way needs one more package for no gain here
            output_loading_info=True,
        )
    refuse_other_weights(report, folder)
    return cast(nn.Module, network)


def untrained_network(outline: nn.Module, folder: Path, seed: int, dtype: torch.dtype) -> nn.Module:
    """Return a network of diffusers with the random weights that its class begins with.

    They depend on the seed and on the versions of torch and diffusers.

    Parameters
    ----------
    outline
        The network without weights; see `network_outline`.
    folder
        Its configuration; no file of weights is opened.
    seed
        Seed of the weights.
    dtype
        The type they are turned into.
    """
    known: Any = type(outline)
    with _silenced(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return cast(nn.Module, known.from_config(_configuration(folder)).to(dtype))


@contextmanager
def _silenced() -> Iterator[None]:
    """Let diffusers advise nothing: what it would say is refused, or meant."""
    from diffusers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


@contextmanager
def _parameters_without_numbers() -> Iterator[None]:
    """Let parameters of modules that are made take no memory."""

    def without_numbers(_module: nn.Module, _name: str, made: nn.Parameter) -> nn.Parameter:
        return nn.Parameter(made.to("meta"), requires_grad=made.requires_grad)

    hook = register_module_parameter_registration_hook(without_numbers)  # type: ignore[arg-type]
    try:
        yield
    finally:
        hook.remove()


def _configuration(folder: Path) -> dict[str, Any]:
    return read_config(folder / NETWORK_FILE, what="configuration of a network")


def _load_one_file(known: Any, folder: Path, file: Path) -> nn.Module:
    """Return a network whose weights lie in one file, without its configuration beside them."""
    network = known.from_config(_configuration(folder))
    report = network.load_state_dict(load_file(file), strict=False)
    names = {"missing_keys": report.missing_keys, "unexpected_keys": report.unexpected_keys}
    refuse_other_weights(names, file)
    return cast(nn.Module, network)


def _refuse_other_network(folder: Path, known: type[Any]) -> None:
    """Refuse the configuration of another class, or one with options that this class lacks."""
    path = folder / NETWORK_FILE
    options = _configuration(folder)
    name = saved_class(options) or known.__name__
    understood = AVERAGING_OPTIONS | inspect.signature(known).parameters.keys()
    unknown = [
        f"{key}: {value!r}"
        for key, value in options.items()
        if not (key.startswith("_") or key in understood or value in (None, False))
    ]
    if name == known.__name__ and not unknown:
        return
    raise ModelError(
        f"is of another class, {name}"
        if name != known.__name__
        else f"unknown option {', '.join(unknown[:3])}",
        where=path,
        remedy=f"give a {known.__name__}, saved by a version of diffusers no newer than this one",
    )
