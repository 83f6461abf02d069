"""What imported features are declared to be, since their file does not say."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.exchange.feature_array import FeatureArray
from dtrak_stream.methods import METHODS
from dtrak_stream.objective.output_functions import OUTPUT_FUNCTIONS, interpolation_eta
from dtrak_stream.objective.timesteps import choose_timesteps
from dtrak_stream.store import Fingerprint

INVERSE_ROOT = "1/sqrt(k)"
NO_TIMESTEPS = "none"


@dataclass(frozen=True)
class DeclaredFeatures:
    """What the features are: give the same for training images and queries."""

    source: str
    """Where the features come from, in your words: model, checkpoint, program. Stores are \
compared only if it is the same."""
    output_function: str
    """What was differentiated: simple, elbo, square, avg, l1, l2, linf or interpolation(ETA)."""
    timesteps: str
    """Timesteps f was averaged over: 10 or uniform:10, cumulative:10, list:0,250,500; none for \
features without timesteps."""
    projector: Literal["normal", "rademacher", "sketch", "identity", "other"]
    """Kind of the random projection."""
    scale: str
    """Number that features are multiplied by so that E<Px,Py> = <x,y>: 1 if they are scaled so \
already; 1/sqrt(k) for projections on plain N(0,1) or +-1 numbers, as D-TRAK stores them (the TRAK \
library divides by sqrt(p) besides)."""
    image_shape: str
    """Shape of the images that the model saw, channels x height x width: 3x32x32."""
    projector_name: str = ""
    """Which projection it was, in your words, such as its class and seed."""
    num_train_timesteps: int = 1000
    """Number of timesteps the model was trained on."""
    noise: str = "not declared"
    """How the noise was keyed, in your words."""
    noise_draws: int = 1
    """Noise draws for each timestep."""
    seed: int = 0
    """Seed of the noise and of the projection."""
    num_parameters: int = 0
    """Length p of a gradient; 0: not known."""

    def factor(self, used_dim: int) -> float:
        """Return what features of k = `used_dim` columns are multiplied by.

        Raises
        ------
        ConfigurationError
            If `scale` is no positive number, or does not go with the projector.
        """
        where = f"--scale {self.scale}"
        if self.scale.replace(" ", "") == INVERSE_ROOT:
            if self.projector == "identity":
                raise ConfigurationError(
                    "whole gradients are not projected and need no such scale",
                    where=where,
                    remedy="give --scale 1, or the --projector that was used",
                )
            return 1 / math.sqrt(used_dim)
        try:
            factor = float(self.scale)
        except ValueError:
            factor = math.nan
        if not 0 < factor < math.inf:
            raise ConfigurationError(
                "not a positive number", where=where, remedy=f"give a number, or {INVERSE_ROOT}"
            )
        return factor

    def fingerprint(
        self, array: FeatureArray, *, images: str, dtype: str, rows_per_shard: int
    ) -> Fingerprint:
        """Return the fingerprint of a store of these features.

        Parameters
        ----------
        array
            The features.
        images
            Hash of the samples' ids and features.
        dtype, rows_per_shard
            How rows are stored.

        Raises
        ------
        ConfigurationError
            If anything declared has no such value.
        """
        self._check()
        return Fingerprint(
            model=f"imported: {self.source}",
            weights="imported",
            parameters="imported",
            num_parameters=self.num_parameters,
            output_function=self.output_function,
            timesteps=self._timesteps(),
            noise_keying=f"imported: {self.noise}",
            noise_draws=self.noise_draws,
            seed=self.seed,
            projector=self._projector(array),
            projector_version=0,
            proj_dim=array.used_dim,
            image_shape=self.image_shape,
            precision="imported",
            images=images,
            samples=len(array),
            dtype=dtype,
            rows_per_shard=rows_per_shard,
        )

    def _projector(self, array: FeatureArray) -> str:
        name = f" ({self.projector_name})" if self.projector_name else ""
        columns = f"first {array.used_dim} of {array.stored_dim} columns"
        return f"imported: {self.projector}{name}, {columns}, times {self.factor(array.used_dim)!r}"

    def _timesteps(self) -> tuple[int, ...]:
        if self.timesteps == NO_TIMESTEPS:
            return ()
        return choose_timesteps(self.timesteps, self.num_train_timesteps)

    def _check(self) -> None:
        known = {name for method in METHODS.values() for name in method.output_functions}
        if self.output_function not in known - {"interpolation"} | set(OUTPUT_FUNCTIONS[:-1]):
            interpolation_eta(self.output_function)
        for flag, value, least in (
            ("--noise-draws", self.noise_draws, 1),
            ("--num-parameters", self.num_parameters, 0),
            ("--num-train-timesteps", self.num_train_timesteps, 1),
        ):
            if value < least:
                raise ConfigurationError(
                    f"must be at least {least}", where=f"{flag} {value}", remedy="change it"
                )
        sides = self.image_shape.split("x")
        if len(sides) != 3 or not all(side.isdecimal() and int(side) for side in sides):
            raise ConfigurationError(
                "not a shape",
                where=f"--image-shape {self.image_shape}",
                remedy="write channels x height x width, such as 3x32x32",
            )
        if not self.source.strip():
            raise ConfigurationError(
                "says nothing", where="--source", remedy="say which model and program they are of"
            )
