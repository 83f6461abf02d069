"""Which stores and Gram matrices a scoring run is given, and which stream of its method each is of.

Where a method is a sum of streams, a folder that holds a store for each, under the streams' names,
stands for all of them; so does a folder of Gram matrices. Else they are given one after the other
in the order of the streams, for one model after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.methods import Method, Stream
from dtrak_stream.scoring.options import Paths, ScoreConfig, as_tuple
from dtrak_stream.store.store_set import store_roots


@dataclass(frozen=True)
class GivenStores:
    """Where the features of one model are, seen through one function.

    Attributes
    ----------
    stream
        Number of the stream they are of.
    model
        Number of the model: probes of one have the same.
    train, query
        Folders of the two stores.
    gram
        File of the Gram matrix; None for a method without a kernel.
    """

    stream: int
    model: int
    train: Path
    query: Path
    gram: Path | None


def given_stores(method: Method, config: ScoreConfig) -> tuple[GivenStores, ...]:
    """Return everything that is given, all of the first stream first.

    Raises
    ------
    ConfigurationError
        If the numbers of stores and Gram matrices differ, or are not those of the streams.
    """
    streams = method.streams
    trains, queries = _stores(streams, config.train), _stores(streams, config.query)
    grams = _grams(streams, config.gram)
    _refuse_other_counts(method, len(trains), len(queries), len(grams))
    _refuse_other_streams(method, trains, queries)
    matrices = grams if method.uses_kernel else [None] * len(trains)
    given = [
        GivenStores(entry % len(streams), entry // len(streams), train, query, gram)
        for (entry, train), (_, query), gram in zip(trains, queries, matrices, strict=True)
    ]
    return tuple(sorted(given, key=lambda one: one.stream))


def _stores(streams: Sequence[Stream], paths: Paths) -> list[tuple[int, Path]]:
    """Return all stores, those of probes instead of what holds them, and which entry each is of."""
    entries: list[Path] = []
    for path in as_tuple(paths):
        of_streams = [path / stream.name for stream in streams]
        holds_streams = len(streams) > 1 and not (path / "store.json").exists()
        entries += of_streams if holds_streams and of_streams[0].is_dir() else [path]
    return [(number, root) for number, entry in enumerate(entries) for root in store_roots(entry)]


def _grams(streams: Sequence[Stream], paths: Paths | None) -> list[Path]:
    """Return all Gram matrices: those in a folder that is given in the order of the streams."""
    grams: list[Path] = []
    for path in as_tuple(paths):
        if len(streams) == 1 or not path.is_dir():
            grams.append(path)
            continue
        for stream in streams:
            several = sorted(path.glob(f"{stream.name}-[0-9][0-9][0-9].h5"))
            grams += several or [path / f"{stream.name}.h5"]
    return grams


def _refuse_other_counts(method: Method, trains: int, queries: int, grams: int) -> None:
    if not trains or not queries:
        raise ConfigurationError(
            "no features are given",
            where="--train --query",
            remedy="give the stores that dtrak-stream featurize wrote",
        )
    if method.uses_kernel and not grams:
        raise ConfigurationError(
            f"{method.name} needs the Gram matrix of the training features",
            where="--gram",
            remedy="make it with dtrak-stream gram --store TRAIN --out gram.h5, and give it as "
            "--gram gram.h5",
        )
    if queries != trains or (method.uses_kernel and grams != trains):
        kernel = f" and {grams} Gram matrices" if method.uses_kernel else ""
        raise ConfigurationError(
            f"{trains} training stores need as many of the others, but there are {queries} "
            f"query stores{kernel}",
            where="--train --query --gram",
            remedy="give one of each for every model, in the same order",
        )


def _refuse_other_streams(
    method: Method, trains: Sequence[tuple[int, Path]], queries: Sequence[tuple[int, Path]]
) -> None:
    """Refuse stores that leave a stream without features, or one side of it with too few."""
    streams = method.streams
    of_trains, of_queries = ([n % len(streams) for n, _ in side] for side in (trains, queries))
    if of_trains[-1] == len(streams) - 1 and of_trains == of_queries:
        return
    names = ", ".join(stream.name for stream in streams)
    raise ConfigurationError(
        f"{method.name} is a sum of {len(streams)} streams ({names}): {len(trains)} training and "
        f"{len(queries)} query stores are not one for each",
        where="--train --query",
        remedy="give the folders that hold them all under these names, or for every model one "
        "store for each stream, in this order",
    )
