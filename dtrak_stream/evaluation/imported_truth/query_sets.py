"""Sets of queries whose losses are imported: what the loss files call them, and their ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dtrak_stream.data.named_source import split_name
from dtrak_stream.errors import ConfigurationError, InputError
from dtrak_stream.evaluation.truth import loss_key
from dtrak_stream.exchange.sample_ids import ListedIds, NumberedIds, read_ids

_RESERVED = "seeds"  # losses of the seeds of the first set have that name


@dataclass(frozen=True)
class QuerySet:
    """A set of queries.

    Attributes
    ----------
    key
        Key of its losses in the truth file.
    name
        What the loss files call it.
    ids
        Its ids; None if they are not told.
    where
        Where the ids are from, for refusals.
    """

    key: str
    name: str
    ids: ListedIds | NumberedIds | None
    where: str

    def require(self, count: int) -> None:
        """Raise `InputError` if there are ids, and not `count` of them."""
        if self.ids is not None and len(self.ids) != count:
            raise InputError(
                f"names {len(self.ids):,} queries, the losses of {self.name} are of {count:,}",
                where=self.where,
                remedy="give the ids of exactly these queries, in their order",
            )


def query_sets(given: Sequence[str]) -> list[QuerySet]:
    """Turn `NAME` and `NAME=IDS` into sets of queries; the first has the key `loss`.

    Raises
    ------
    ConfigurationError
        If a name is no name of a file, or two sets have the same.
    InputError
        If a file of ids cannot be used.
    """
    sets: list[QuerySet] = []
    for place, text in enumerate(given):
        name, source = split_name(text)
        named, ids = (name, read_ids(Path(source))) if name else (text, None)
        if named in {_RESERVED, *(known.name for known in sets)} or "/" in named:
            raise ConfigurationError(
                "is no name of a set of queries, or that of another one",
                where=f"--query {text}",
                remedy="write --query val=idx-val.pkl gen, with names all different",
            )
        sets.append(QuerySet(loss_key(named if place else None), named, ids, source))
    return sets
