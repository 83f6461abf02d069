"""The files that hold a network's weights, and whether they hold all of them.

Weights are read from safetensors. Where there are none, files of pickled tensors (``.bin``) are
read by torch's loader of weights alone: what else such a file holds would run as a program, and
is refused before anything runs.
"""

from __future__ import annotations

import pickle
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dtrak_stream.errors import ModelError, first_few
from dtrak_stream.model.config_files import read_config

OF_DIFFUSERS, OF_TRANSFORMERS = "diffusion_pytorch_model", "model"
"""What the names of weights begin with, by the package that saved them."""
_PICKLED = {OF_TRANSFORMERS: "pytorch_model"}
_SHOWN = 3


@dataclass(frozen=True)
class WeightFiles:
    """Which of the weights in a folder are read.

    Attributes
    ----------
    variant
        Such as `fp16`, a part of the files' names; None for those without.
    ending
        `safetensors`, or `bin` for pickled tensors.
    file
        The one file of all weights, where training left it without a configuration beside it.
    """

    variant: str | None
    ending: str = "safetensors"
    file: Path | None = None

    @property
    def description(self) -> str:
        """Return what is unusual about them, as a clause."""
        variant = f", variant {self.variant}" if self.variant else ""
        pickled = ", from .bin files by torch's loader of weights alone"
        return variant + (pickled if self.ending == "bin" else "")


def find_weights(
    folder: Path, *, stem: str = OF_DIFFUSERS, class_name: str = "UNet2DModel"
) -> WeightFiles:
    """Choose among the weights in a folder as diffusers does: those without a variant, if any.

    Parameters
    ----------
    folder
        Where they lie.
    stem
        What their names begin with.
    class_name
        Whose they are, for messages.

    Raises
    ------
    ModelError
        If there are none, several variants and nothing else, a part of weights in several files is
        missing, or a file of pickled tensors holds something else.
    """
    names = sorted(path.name for path in folder.iterdir())
    ending, own_stem, variants = _choice(names, stem)
    if not variants:
        raise _no_weights(folder, names, stem, class_name)
    if None not in variants and len(variants) > 1:
        raise ModelError(
            f"holds {', '.join(sorted(map(str, variants)))} variants of the weights and no others",
            where=folder,
            remedy="leave one of them in the folder",
        )
    chosen = WeightFiles(None if None in variants else variants.pop(), ending)
    files = _files(folder, own_stem, chosen)
    if ending == "bin":
        for file in files:
            refuse_programs(file)
    return chosen


def files_of(folder: Path, weights: WeightFiles) -> list[Path]:
    """Return the files of the weights of a network in its folder, as `find_weights` chose them."""
    return [weights.file] if weights.file is not None else _files(folder, OF_DIFFUSERS, weights)


def patterns_of_weights(names: list[str], stem: str) -> list[str]:
    """Return patterns of the files that `find_weights` would choose in a folder of these names.

    Where it would choose none, they are those of everything that could be meant.
    """
    ending, stem, variants = _choice(names, stem)
    if not variants:
        return ["*.safetensors"]
    named = "" if None in variants else f".{sorted(map(str, variants))[0]}"
    return [f"{stem}{named}.{ending}", f"{stem}{named}-*.{ending}"]


def _choice(names: list[str], stem: str) -> tuple[str, str, set[str | None]]:
    """Return ending, stem and variants of the weights to read: pickled ones if there are no others.

    There are no variants where there are no weights.
    """
    for ending, own in (("safetensors", stem), ("bin", _PICKLED.get(stem, stem))):
        variants = _variants(names, own, ending)
        if variants:
            return ending, own, variants
    return "safetensors", stem, set()


def _variants(names: list[str], stem: str, ending: str) -> set[str | None]:
    whole = re.compile(rf"{stem}(?:\.(?P<variant>[^.]+))?\.{ending}")
    index = re.compile(rf"{stem}\.{ending}\.index(?:\.(?P<variant>[^.]+))?\.json")
    matches = [each for name in names for each in (whole.fullmatch(name), index.fullmatch(name))]
    return {match["variant"] for match in matches if match is not None}


def refuse_programs(file: Path) -> None:
    """Refuse a pickled file that holds something else than tensors; nothing of it is run.

    Raises
    ------
    ModelError
        If so, or it cannot be read.
    """
    try:
        torch.load(file, map_location="meta", weights_only=True)
    except pickle.UnpicklingError as error:
        problem = "holds objects besides tensors, which run as programs when they are unpickled"
        remedy = "where you trust it, load it once and save its tensors as safetensors"
        raise ModelError(problem, where=file, remedy=remedy) from error
    except (OSError, RuntimeError, EOFError, ValueError, LookupError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        remedy = "check that the file is whole"
        raise ModelError(f"cannot be read ({reason})", where=file, remedy=remedy) from error


def _no_weights(folder: Path, names: list[str], stem: str, class_name: str) -> ModelError:
    shard = re.compile(rf"{stem}(?:\.[^.]+)?-\d{{5}}-of-\d{{5}}\.safetensors")
    if any(shard.fullmatch(name) for name in names):
        problem = "weights in several files without their index"
        remedy = f"add {stem}.safetensors.index.json"
    elif any(name.endswith((".pt", ".pth", ".ckpt")) for name in names):
        problem = "no weights in safetensors format, only files that run as programs when opened"
        remedy = (
            "where you trust them, load them once and save them with "
            f"{class_name}.save_pretrained({str(folder)!r})"
        )
    elif others := [name for name in names if name.endswith(".safetensors")]:
        problem = f"no weights called {stem}.safetensors, but {', '.join(others[:_SHOWN])}"
        remedy = "save the network with save_pretrained, or rename the file if it is one"
    else:
        problem = "no weights in safetensors format"
        remedy = "save the pipeline again with save_pretrained(..., safe_serialization=True)"
    return ModelError(problem, where=folder, remedy=remedy)


def _files(folder: Path, stem: str, chosen: WeightFiles) -> list[Path]:
    """Return the files of the weights; refuse those in several files of which one is missing."""
    named, ending = f".{chosen.variant}" if chosen.variant else "", chosen.ending
    path = folder / f"{stem}.{ending}.index{named}.json"
    if not path.is_file():
        return [folder / f"{stem}{named}.{ending}"]
    places = read_config(path, what="index of weights").get("weight_map", {})
    missing = sorted({name for name in places.values() if not (folder / name).is_file()})
    if missing:
        raise ModelError(
            f"names {len(missing)} files that are not there: {first_few(missing)}",
            where=path,
            remedy="copy or download the rest of the weights",
        )
    return [folder / name for name in sorted(set(places.values()))]


def refuse_other_weights(report: dict[str, Any], folder: Path) -> None:
    """Refuse weights that do not belong to the network to the last name.

    Parameters
    ----------
    report
        What diffusers tells of loading them: missing_keys, unexpected_keys.
    folder
        Where they lie.

    Raises
    ------
    ModelError
        If a weight of the network is not in the files, or the files hold one that it has not.
    """
    missing, unknown = sorted(report["missing_keys"]), sorted(report["unexpected_keys"])
    found = [
        f"{problem} {len(names)} of {whose} weights: {first_few(names)}"
        for names, problem, whose in (
            (missing, "the files lack", "the network's"),
            (unknown, "the network has no place for", "the files'"),
        )
        if names
    ]
    if found:
        raise ModelError("; ".join(found), where=folder, remedy=_remedy(missing, unknown))


def _remedy(missing: list[str], unknown: list[str]) -> str:
    """Return what to do, which is to cut a prefix where that is all that differs."""
    for name in missing[:1]:
        prefixes = {key[: -len(name)] for key in unknown if key.endswith("." + name)}
        if len(prefixes) == 1:
            prefix = prefixes.pop()
            if {prefix + each for each in missing} == set(unknown):
                return (
                    f"a wrapper of training put {prefix!r} before every name: save the network "
                    "that it wraps (unwrap_model), or rename the weights"
                )
    return "save the network again with save_pretrained, its configuration with its weights"
