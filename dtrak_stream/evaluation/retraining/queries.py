"""Sets of queries: their names on the command line and in the truth file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dtrak_stream.data.condition_options import ConditionOptions
from dtrak_stream.data.images import Images, open_images
from dtrak_stream.data.named_source import split_name
from dtrak_stream.data.options import ImageOptions, ImageShape
from dtrak_stream.data.samples import ConditionKind
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.evaluation.truth import loss_key

_RESERVED = "seeds"


@dataclass(frozen=True)
class QuerySet:
    """Images whose losses are measured, as a job is told of them.

    Attributes
    ----------
    key
        Key of their losses in the truth file.
    name
        As given; empty for an unnamed set.
    source
        Image source.
    shape, options
        How they are read: as the training images are.
    conditioned_on, conditions
        What the model is told of them, and where that is.
    """

    key: str
    name: str
    source: str
    shape: ImageShape
    options: ImageOptions
    conditioned_on: ConditionKind = "nothing"
    conditions: ConditionOptions = ConditionOptions()  # noqa: RUF009

    def open(self, *, visible: bool = False) -> Images:
        """Open the images."""
        return open_images(
            self.source,
            self.shape,
            self.options,
            conditioned_on=self.conditioned_on,
            conditions=self.conditions,
            visible=visible,
        )


def parse_queries(
    given: Sequence[str],
    shape: ImageShape,
    options: ImageOptions,
    conditioned_on: ConditionKind = "nothing",
    conditions: ConditionOptions = ConditionOptions(),  # noqa: B008 (frozen)
) -> tuple[QuerySet, ...]:
    """Turn `SRC` and `NAME=SRC` into sets of queries; the first has the key `loss`.

    Raises
    ------
    ConfigurationError
        If a set besides the first has no name, or two have the same.
    """
    sets: list[QuerySet] = []
    for place, text in enumerate(given):
        name, source = split_name(text)
        if (not name and place) or name == _RESERVED or name in {known.name for known in sets}:
            raise ConfigurationError(
                "the name is reserved or taken" if name else "a further set of queries has no name",
                where=f"--query {text}",
                remedy="write --query SRC NAME=SRC OTHER=SRC, with names all different",
            )
        key = loss_key(name if place else None)
        sets.append(QuerySet(key, name, source, shape, options, conditioned_on, conditions))
    return tuple(sets)
