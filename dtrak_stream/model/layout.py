"""What lies where in a model folder, found as diffusers finds it.

==========================  =====================================================================
``model_index.json``        A pipeline: network in ``unet/`` or ``transformer/``, scheduler in
                            ``scheduler/``, or either beside the index where there is no such
                            folder; further parts (``vae/``, ``text_encoder/``) by their names.
``unet/``, ``unet_ema/``    A checkpoint of a training script, ``checkpoint-N``: the network of
                            the last step is taken, the averaged one where there is no other.
``model.safetensors``       The same, as Accelerate leaves a state: the network is configured in the
                            run that the ``checkpoint-N`` is of.
``config.json``             A network alone, as ``PIPELINE/unet`` or ``checkpoint-N/unet_ema``.
==========================  =====================================================================

Checkpoints and networks alone have no scheduler: it is looked for with the network, in the folder
that holds it, in the run that a ``checkpoint-N`` is of, and in the pipeline that is given as base.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from dtrak_stream.errors import InputError
from dtrak_stream.model.config_files import read_config, saved_class
from dtrak_stream.model.model_folder import EMA, INDEX_FILE, NETWORK_FILE, ModelFolder, ModelPart
from dtrak_stream.model.options import WeightsName
from dtrak_stream.model.saved_schedule import FILE_NAME as SCHEDULER_FILE

_CLASS = "_class_name"
_PARTS = ("unet", "transformer")
_STATE_FILE, LORA_FILE = "model.safetensors", "pytorch_lora_weights.safetensors"
_CHECKPOINT = "checkpoint-"
# what only looks at finished images
_SAYS_NOTHING = frozenset({"safety_checker", "feature_extractor"})


def find_model(
    root: Path, weights: WeightsName = "as-given", base: Path | None = None
) -> ModelFolder:
    """Return where the parts of the model in a folder lie.

    Parameters
    ----------
    root
        The folder, of any layout above.
    weights
        Which of the networks that training left.
    base
        A pipeline folder: scheduler and further parts of a network alone that has none around it.

    Raises
    ------
    InputError
        If it holds no model, or a part of it is not there.
    ModelError
        If a file that says what lies where cannot be read.
    """
    return _with_weights(_find_model(root, base), weights)


def _find_model(root: Path, base: Path | None) -> ModelFolder:
    if (root / INDEX_FILE).is_file():
        return _of_pipeline(root)
    for part in (*_PARTS, *(part + EMA for part in _PARTS)):
        if (root / part / NETWORK_FILE).is_file():
            return _alone(root / part, base)
    if (root / NETWORK_FILE).is_file():
        return _alone(root, base)
    if (root / _STATE_FILE).is_file():
        return _of_training_state(root, base)
    if (root / LORA_FILE).is_file():
        raise InputError(
            f"holds a LoRA ({LORA_FILE}) and not the model it is put on",
            where=root,
            remedy=f"give the model it was trained on, and this one as --lora {root}",
        )
    raise InputError(
        f"no {INDEX_FILE}" if root.is_dir() else "no such folder",
        where=root,
        remedy="give a diffusers pipeline folder, as dtrak-stream train or "
        "DDPMPipeline.save_pretrained writes it, its unet folder, or a checkpoint-N of training",
    )


def _with_weights(found: ModelFolder, weights: WeightsName) -> ModelFolder:
    """Return the same model with the network of the last step, or the averaged one."""
    network = found.network
    raw = network.with_name(network.name.removesuffix(EMA))
    wanted = {"raw": raw, "ema": raw.with_name(raw.name + EMA)}.get(weights, network)
    if wanted == network:
        return found
    if found.weights_file is None and (wanted / NETWORK_FILE).is_file():
        return replace(found, network=wanted)
    raise InputError(
        f"there is no {wanted.name}/ beside {network.name}/",
        where=network.parent,
        remedy="leave out --weights, or name a folder of training that holds both",
    )


def _of_training_state(root: Path, base: Path | None) -> ModelFolder:
    """Return the model whose weights Accelerate left in one file, as its run is configured."""
    root = root.resolve()
    for folder in (root, root.parent):
        for part in _PARTS:
            if (folder / part / NETWORK_FILE).is_file():
                return replace(_find_model(folder, base), weights_file=root / _STATE_FILE)
    raise InputError(
        f"holds weights ({_STATE_FILE}) and not what network they are of",
        where=root,
        remedy="save the configuration of the network beside the run: "
        f"UNet2DModel(...).save_config({str(root.parent / 'unet')!r})",
    )


def _of_pipeline(root: Path) -> ModelFolder:
    path = root / INDEX_FILE
    index = read_config(path, what="index of parts")
    part = next((name for name in _PARTS if _class_in(index, name)), _PARTS[0])
    network = _place_of(root, part)
    return ModelFolder(
        network,
        _class_of(network, _class_in(index, part)),
        path,
        _place_of(root, "scheduler"),
        _further_parts(index, root),
    )


def _class_of(network: Path, named: str | None) -> str | None:
    """Return the class of a network that the index names; some names were of several classes."""
    path = network / NETWORK_FILE
    if named is None or not path.is_file():
        return named
    return saved_class({**read_config(path, what="configuration of a network"), _CLASS: named})


def _place_of(root: Path, part: str) -> Path:
    """Return the folder of a part: its own, or that of the index."""
    return root / part if (root / part).is_dir() else root


def _further_parts(index: dict[str, Any], root: Path) -> dict[str, ModelPart]:
    """Return the parts that come before the network, by name."""
    named = {name: _class_in(index, name) for name in index}
    return {
        name: ModelPart(root / name, class_name)
        for name, class_name in named.items()
        if class_name and name not in {*_PARTS, "scheduler", *_SAYS_NOTHING}
    }


def _class_in(index: dict[str, Any], part: str) -> str | None:
    """Return the class of a part; None if it is none, or was left out of the pipeline."""
    entry = index.get(part)
    is_part = isinstance(entry, list) and len(entry) == 2 and isinstance(entry[1], str)
    return entry[1] if is_part and entry is not None else None


def _alone(network: Path, base: Path | None) -> ModelFolder:
    network = network.resolve()
    around = (*_around(network), *([] if base is None else [base]))
    pipeline = next((folder for folder in around if (folder / INDEX_FILE).is_file()), None)
    places = [place for folder in around for place in (folder / "scheduler", folder)]
    scheduler = next((place for place in places if (place / SCHEDULER_FILE).is_file()), None)
    if scheduler is None:
        raise InputError(
            "holds a network and no scheduler: the noise that it was trained under is not known",
            where=network,
            remedy="give the pipeline folder, or as --base the one that it was trained from, or "
            "save the scheduler of its training beside it: "
            f"DDPMScheduler(...).save_pretrained({str(network.parent / 'scheduler')!r})",
        )
    path = network / NETWORK_FILE
    config = read_config(path, what="configuration of a network")
    further: dict[str, ModelPart] = {}
    if pipeline is not None:
        index = read_config(pipeline / INDEX_FILE, what="index of parts")
        further = _further_parts(index, pipeline)
    return ModelFolder(network, saved_class(config), path, scheduler, further)


def _around(network: Path) -> tuple[Path, ...]:
    """Return where the rest of the model of a network alone may lie, the nearest first."""
    holder = network.parent
    run = (holder.parent,) if holder.name.startswith(_CHECKPOINT) else ()
    return (network, holder, *run)


def deciding_files(root: Path) -> list[Path]:
    """Return the files that decide what a model is and do not lie in its folder.

    Parameters
    ----------
    root
        A folder that may hold a model; a pipeline has all its parts inside.

    Raises
    ------
    InputError
        If the index of a pipeline around it cannot be read.
    """
    if (root / INDEX_FILE).is_file():
        return []
    root = root.resolve()
    outside = [folder for folder in _around(root / _PARTS[0]) + _around(root) if folder != root]
    names = (INDEX_FILE, SCHEDULER_FILE, f"scheduler/{SCHEDULER_FILE}")
    found = {folder / name for folder in outside for name in names if (folder / name).is_file()}
    for index in [path for path in found if path.name == INDEX_FILE]:
        parts = _further_parts(read_config(index, what="index of parts"), index.parent)
        for part in parts.values():
            found |= {path for path in part.folder.glob("*") if path.is_file()}
    return sorted(path for path in found if not path.is_relative_to(root))
