"""Models and LoRAs of the Hugging Face hub: fetched into its cache once, found there afterwards."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from dtrak_stream.errors import InputError
from dtrak_stream.model.families import family_of
from dtrak_stream.model.layout import find_model
from dtrak_stream.model.lora_files import LORA_NAMES
from dtrak_stream.model.weight_files import OF_DIFFUSERS, OF_TRANSFORMERS, patterns_of_weights

_TEXT_ENCODER = "text_encoder"
_OF_TOKENIZERS = ("tokenizer*/*.txt", "tokenizer*/*.model")


def fetch(name: str) -> Path:
    """Return the folder of the cache that holds a model of the hub.

    What describes the model comes first, so that what is refused is not downloaded; of the
    weights only those of the parts that are read are, and of several kinds of them (whole and half
    precision, safetensors and pickled) those that `find_weights` chooses. Without a connection,
    the cache is all that is looked at.

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
    names, wanted = _listed(name, root), list[str]()
    for folder in (found.network, *(part.folder for part in found.further.values())):
        inside = PurePosixPath(folder.relative_to(root).as_posix())
        there = [each.name for each in names if each.parent == inside]
        stem = OF_TRANSFORMERS if inside.name.startswith(_TEXT_ENCODER) else OF_DIFFUSERS
        wanted += [(inside / each).as_posix() for each in patterns_of_weights(there, stem)]
    return _download(name, "*.json", *_OF_TOKENIZERS, *wanted)


def fetch_lora(name: str) -> Path:
    """Return the folder of the cache that holds a LoRA of the hub; raises as `fetch`.

    Of its weights, those that `find_lora` chooses are downloaded.

    Parameters
    ----------
    name
        OWNER/NAME.
    """
    root = _download(name, "*.json")
    there = {each.as_posix() for each in _listed(name, root)}
    wanted = next((each for each in LORA_NAMES if each in there), None)
    return _download(name, "*.json", *LORA_NAMES if wanted is None else [wanted])


def _listed(name: str, root: Path) -> list[PurePosixPath]:
    """Return the files of a repository; without a connection, those of them in the cache."""
    from huggingface_hub import list_repo_files

    try:
        return [PurePosixPath(each) for each in list_repo_files(name)]
    except Exception:  # as whoever downloads them finds out, if it matters
        cached = (path for path in root.rglob("*") if path.is_file())
        return [PurePosixPath(path.relative_to(root).as_posix()) for path in cached]


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
