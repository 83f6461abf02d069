"""Models of the Hugging Face hub: fetched into its cache once, found there afterwards."""

from __future__ import annotations

from pathlib import Path

from dtrak_stream.errors import InputError
from dtrak_stream.model.families import family_of
from dtrak_stream.model.layout import find_model

_OF_TOKENIZERS = ("tokenizer*/*.txt", "tokenizer*/*.model")


def fetch(name: str) -> Path:
    """Return the folder of the cache that holds a model of the hub.

    What describes the model comes first, so that what is refused is not downloaded; of the
    weights only those of the parts that are read are. Without a connection, the cache is all
    that is looked at.

    Parameters
    ----------
    name
        OWNER/NAME.

    Raises
    ------
    InputError
        If the hub cannot be reached and the cache does not have it, or there is no such model.
    ModelError
        If it is of no known family; see `family_of`.
    """
    root = _download(name, "*.json")
    found = find_model(root)
    found.refuse_parts_but(family_of(found).parts)
    folders = [found.network, *(part.folder for part in found.further.values())]
    weights = [(each.relative_to(root) / "*.safetensors").as_posix() for each in folders]
    return _download(name, "*.json", *_OF_TOKENIZERS, *weights)


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
