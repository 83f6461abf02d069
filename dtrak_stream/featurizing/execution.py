"""How featurizing is executed: which gradient engine, and how many images at a time.

Neither changes a feature beyond rounding. The choice (see `calibration`) is kept with the store:
a run that goes on later makes the same one, unless the machine has become another.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from dtrak_stream.data.samples import Samples, size_of
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.features.maker import EngineName, FeatureMaker
from dtrak_stream.featurizing.options import ExecutionOptions
from dtrak_stream.support.device import device_name, free_memory

_BATCH_BYTES = 64 * 2**20
_AS_MUCH = 0.8  # what is free comes and goes by more than a tenth
_ROOM = 2  # times what a pass keeps, for what its layers and its blocks take besides


def refuse_useless_engine(options: ExecutionOptions, maker: FeatureMaker) -> None:
    """Refuse a gradient engine for features without gradients.

    Raises
    ------
    ConfigurationError
        Naming the option.
    """
    if "none" not in maker.engines:
        return
    for flag, asked in (
        (f"--engine {options.engine}", options.engine != "auto"),
        ("--compile", options.compile),
    ):
        if asked:
            raise ConfigurationError(
                "these features are no gradients", where=flag, remedy="leave it out"
            )


@dataclass(frozen=True)
class Execution:
    """A choice of engine and batch.

    Attributes
    ----------
    engine
        Name of the engine; `none` for image features, which have no gradients.
    batch_size
        Images that are featurized together.
    pairs_per_pass
        (image, timestep, draw) triples in one pass of the model.
    served
        Names of the parameters that the layer rules of the hooked engine serve.
    reason
        Why, for the user.
    compiled
        Whether the network runs through `torch.compile`.
    device
        What it was chosen for; see `device_name`.
    free
        Bytes of memory that were free there.
    needed
        Bytes of memory that a pass keeps for its backward pass; 0 if that is not known.
    """

    engine: EngineName
    batch_size: int
    pairs_per_pass: int
    served: tuple[str, ...]
    reason: str
    compiled: bool = False
    device: str = ""
    free: int = 0
    needed: int = 0

    def apply(self, maker: FeatureMaker) -> None:
        """Make `maker` execute like this."""
        maker.batch_size = self.batch_size
        maker.use_engine(
            self.engine,
            pairs_per_pass=self.pairs_per_pass,
            served=frozenset(self.served),
            compiled=self.compiled,
        )

    def rows_at_a_time(self, samples: Samples) -> int:
        """Return how many images of this shape are decoded and featurized together, at most."""
        sample_bytes = 4 * math.prod(size_of(samples))
        return max(1, min(self.batch_size, _BATCH_BYTES // sample_bytes))

    def suits(self, maker: FeatureMaker) -> bool:
        """Return whether it may be used for `maker` here and now.

        Not on another device, and not where much less memory is free and may not be enough.
        """
        if device_name(maker.device) != self.device:
            return False
        free = free_memory(maker.device)
        return free >= _AS_MUCH * self.free or free >= _ROOM * self.needed

    def numerics(self) -> dict[str, Any]:
        """Return what the last bits of a feature depend on."""
        aside = ("reason", "free", "needed")
        return {name: value for name, value in self.record().items() if name not in aside}

    def record(self) -> dict[str, Any]:
        """Return what is kept with the store."""
        return {**asdict(self), "served": list(self.served)}

    @classmethod
    def recorded(cls, record: dict[str, Any]) -> Execution:
        """Return the choice that `record` describes."""
        return cls(**{**record, "served": tuple(record["served"])})
