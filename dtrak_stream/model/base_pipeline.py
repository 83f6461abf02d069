"""The pipeline that a network given alone was trained from, whose other parts it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dtrak_stream.errors import ConfigurationError, InputError, ModelError
from dtrak_stream.model.config_files import read_config
from dtrak_stream.model.hub import fetch
from dtrak_stream.model.layout import find_model
from dtrak_stream.model.model_folder import INDEX_FILE, NETWORK_FILE, ModelFolder
from dtrak_stream.model.places import hub_name, model_root

# what must agree for the parts of one network to be those of another
_OF_ITS_PARTS = (
    *("in_channels", "cross_attention_dim", "joint_attention_dim", "caption_channels"),
    *("addition_embed_type", "projection_class_embeddings_input_dim", "pooled_projection_dim"),
)


def base_folder(name: str) -> Path:
    """Return the folder of the pipeline with this name: a path, or `hf:OWNER/NAME`.

    Raises
    ------
    InputError
        If there is no such pipeline.
    """
    on_hub = hub_name(name)
    root = model_root(name) if on_hub is None else fetch(on_hub)
    if (root / INDEX_FILE).is_file():
        return root.resolve()
    raise InputError(
        f"no {INDEX_FILE}" if root.is_dir() else "no such folder",
        where=name,
        remedy="give as --base the pipeline folder that the network was trained from",
    )


def refuse_other_base(found: ModelFolder, base: Path) -> None:
    """Refuse a base that the network was not trained from, as far as configurations tell.

    Parameters
    ----------
    found
        Where the parts of the model lie, those of the base among them.
    base
        Its folder.

    Raises
    ------
    ConfigurationError
        If the model has parts of its own, so that nothing is taken from the base.
    ModelError
        If its network is of another class, or is told or given something else.
    """
    taken = [found.scheduler, *(part.folder for part in found.further.values())]
    if not any(folder.is_relative_to(base) for folder in taken):
        raise ConfigurationError(
            f"nothing is taken from it: {found.named_by.parent} has all parts of its own",
            where=f"--base {base}",
            remedy="leave it out, or give the network alone as --model",
        )
    own = find_model(base)
    if own.class_name != found.class_name:
        raise ModelError(
            f"its network is a {own.class_name}, and a {found.class_name} is given",
            where=f"--base {base}",
            remedy="give the pipeline that the network was trained from",
        )
    ours, theirs = _configuration(found), _configuration(own)
    for name in _OF_ITS_PARTS:
        if ours.get(name) != theirs.get(name):
            raise ModelError(
                f"{name} of its network is {theirs.get(name)!r}, and {ours.get(name)!r} of the "
                "one that is given",
                where=f"--base {base}",
                remedy="give the pipeline that the network was trained from",
            )


def _configuration(found: ModelFolder) -> dict[str, Any]:
    return read_config(found.network / NETWORK_FILE, what="configuration of a network")
