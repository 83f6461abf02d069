"""Models of the Hugging Face hub: fetched into its cache once, found there afterwards."""

from __future__ import annotations

from pathlib import Path

from dtrak_stream.errors import InputError
from dtrak_stream.model.layout import find_model


def fetch(name: str) -> Path:
    """Return the folder of the cache that holds a model of the hub.

    What describes the model comes first, so that what is refused is not downloaded; of the
    weights only those of the network are. Without a network, the cache is all that is looked at.

    Parameters
    ----------
    name
        OWNER/NAME.

    Raises
    ------
    InputError
        If the hub cannot be reached and the cache does not have it, or there is no such model.
    ModelError
        If it is no model of pixels; see `find_model`.
    """
    root = _download(name, "*.json")
    network = find_model(root).network.relative_to(root)
    return _download(name, "*.json", (network / "*.safetensors").as_posix())


def _download(name: str, *wanted: str) -> Path:
    from huggingface_hub import snapshot_download  # nobody else needs it

    try:
        return Path(snapshot_download(name, allow_patterns=list(wanted)))
    except Exception as error:  # the hub, its cache and the network each raise their own
        raise InputError(
            "there is no such folder here, and the hub cannot be reached or has no such model "
            f"({type(error).__name__}: {' '.join(str(error).split())[:200]})",
            where=name,
            remedy="check the name and the network, or download it elsewhere "
            f"(hf download {name} --local-dir FOLDER) and give --model FOLDER",
        ) from error
