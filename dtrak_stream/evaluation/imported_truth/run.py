"""From a folder of retrained models to a truth file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.evaluation.imported_truth.configuration import (
    ImportTruthConfig,
    ImportTruthResult,
)
from dtrak_stream.evaluation.imported_truth.mean_losses import mean_losses
from dtrak_stream.evaluation.imported_truth.model_folders import (
    WantedLosses,
    choose_losses,
    find_losses,
)
from dtrak_stream.evaluation.imported_truth.query_sets import QuerySet, query_sets
from dtrak_stream.evaluation.imported_truth.subset_files import TrainingIndex, subset_masks
from dtrak_stream.evaluation.subsets import Mask
from dtrak_stream.evaluation.truth import (
    TruthFile,
    encoded_ids,
    is_truth,
    query_id_key,
    seeds_key,
    write_truth,
)
from dtrak_stream.exchange.sample_ids import choose_sample_ids
from dtrak_stream.support.destinations import FileKind
from dtrak_stream.support.progress import progress, say
from dtrak_stream.support.provenance import RECORD, record_run

_FORMAT = 1
_COMMAND = "dtrak-stream import-truth"


def import_truth(config: ImportTruthConfig) -> ImportTruthResult:
    """Read index and loss files of retrained models, and write a truth file of them.

    Raises
    ------
    InputError
        If a file is missing, cannot be read, or does not fit the others; or if the truth file is
        there, and of something else.
    ConfigurationError
        If a set of queries has no name of its own, or the truth file would lose what it holds.
    """
    config.subset_range(1)
    queries = query_sets(config.query)
    names = [query.name for query in queries]
    wanted = choose_losses(find_losses(config.models, names), names, config)
    index = TrainingIndex.read(config.index)
    mask = subset_masks(index, config.subset_index, wanted.subsets)
    recipe = _recipe(wanted, index, mask)
    _refuse_loss(config, recipe, wanted, queries)
    record = config.out.with_suffix(".config.yaml")
    RECORD.refuse_other(record, flag="that of the result it belongs to")
    arrays: dict[str, NDArray[Any]] = {"mask": mask, "train_id": _train_ids(config, index)}
    facts: dict[str, dict[str, Any]] = {}
    files = len(wanted.subsets) * len(wanted.model_seeds) * len(wanted.noise_seeds) * len(queries)
    with progress(
        files, description="reading losses", unit="file", visible=not config.quiet
    ) as bar:
        for query in queries:
            losses, steps = mean_losses(wanted, query, bar.update)
            arrays |= _query_arrays(query, losses)
            facts[query.key] = {"name": query.name, "loss-timesteps": str(steps)}
    record_run(record, config)
    write_truth(config.out, arrays, {**recipe, **_attributes(wanted), "queries": facts})
    _say_outcome(config.out, wanted, queries)
    models = len(wanted.subsets) * len(wanted.model_seeds)
    return ImportTruthResult(config.out, len(wanted.subsets), models, wanted.left_out)


def _recipe(wanted: WantedLosses, index: TrainingIndex, mask: Mask) -> dict[str, Any]:
    """Return what tells this truth from others, however many subsets it has."""
    return {
        "recipe": {
            "imported": wanted.folders.name,
            "index": xxhash.xxh3_128_hexdigest(index.rows.astype("<i8").tobytes()),
            "first-subset": xxhash.xxh3_128_hexdigest(np.packbits(mask[0]).tobytes()),
        },
        "alpha": round(float(mask[0].mean()), 6),
        "subset-seed": None,
        "strata": None,
    }


def _attributes(wanted: WantedLosses) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "subset-numbers": list(wanted.subsets),
        "left-out-subsets": list(wanted.left_out),
        "train-seeds": list(wanted.model_seeds),
        "noise-seeds": list(wanted.noise_seeds),
        "left-out-images": [],
    }


def _refuse_loss(
    config: ImportTruthConfig,
    recipe: dict[str, Any],
    wanted: WantedLosses,
    queries: list[QuerySet],
) -> None:
    """Refuse a file in the way, and one of this truth that holds more."""

    def knows(path: Path) -> bool:
        if not is_truth(path):
            return False
        stored = TruthFile(path).attributes
        return all(stored.get(name) == value for name, value in recipe.items())

    if not FileKind("a truth file", _COMMAND, knows).refuse_other(config.out, flag="--out"):
        return
    truth = TruthFile(config.out)
    stored = truth.attributes
    dropped = {
        "--subsets": set(stored.get("subset-numbers", [])) - set(wanted.subsets),
        "--model-seeds": set(stored.get("train-seeds", [])) - set(wanted.model_seeds),
        "--noise-seeds": set(stored.get("noise-seeds", [])) - set(wanted.noise_seeds),
        "--query": set(truth.loss_keys) - {query.key for query in queries},
    }
    for flag, lost in dropped.items():
        if lost:
            raise ConfigurationError(
                f"{config.out} holds more than these, which would be lost "
                f"({', '.join(map(str, sorted(lost)))})",
                where=flag,
                remedy="give at least what is there, or --out a new file",
            )


def _train_ids(config: ImportTruthConfig, index: TrainingIndex) -> NDArray[np.bytes_]:
    count = len(index.rows)
    options = config.picked.of(config.images)
    if config.ids is None and config.images is None:
        return encoded_ids(map(str, index.rows.tolist()))
    ids = choose_sample_ids(
        count,
        ids=config.ids,
        images=config.images,
        options=options,
        visible=not config.quiet,
    )
    return encoded_ids(ids(0, count))


def _query_arrays(query: QuerySet, losses: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {query.key: losses.mean(axis=0)}
    if len(losses) > 1:
        arrays[seeds_key(query.key)] = losses
    if query.ids is not None:
        arrays[query_id_key(query.key)] = encoded_ids(query.ids.texts(0, len(query.ids)))
    return arrays


def _say_outcome(out: Path, wanted: WantedLosses, queries: list[QuerySet]) -> None:
    say(
        f"{out}: {len(wanted.subsets):,} subsets, seeds {_listed(wanted.model_seeds)}, noise "
        f"{_listed(wanted.noise_seeds)}, queries {_listed(query.name for query in queries)}"
    )
    if wanted.left_out:
        say(f"{len(wanted.left_out):,} subsets are left out: {_listed(wanted.left_out)}")
    unnamed = [query.name for query in queries if query.ids is None]
    if unnamed:
        say(f"note: queries of {_listed(unnamed)} have no ids; scores are matched by position")


def _listed(values: Any) -> str:
    return ", ".join(map(str, values))
