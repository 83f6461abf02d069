"""What a feature depends on. Features are joined, and runs resumed, only if this agrees."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

import xxhash

from dtrak_stream.errors import FingerprintMismatchError

STORAGE_FIELDS = ("images", "samples", "dtype", "rows_per_shard")
PATH_FIELDS = ("output_function", "timesteps", "noise_draws")


@dataclass(frozen=True)
class Fingerprint:
    """Everything that decides the bytes of a store.

    Attributes
    ----------
    model
        Class of the denoiser, what it predicts, and a hash of its noise schedule.
    weights
        Hash of all parameters and buffers.
    parameters
        Hash of the names and shapes of the parameters whose gradients are taken, in order.
    num_parameters
        p, the length of one gradient.
    output_function, timesteps
        What is differentiated, and the timesteps it is averaged over.
    noise_keying, noise_draws, seed
        How the noise is keyed, how many draws a timestep, and the seed of noise and projector.
    projector, projector_version, proj_dim
        The random map.
    image_shape
        Shape of the images that the model saw.
    precision
        What the model computed in.
    images
        Hash of the data set's contents and order, and of how images are made to fit.
    samples
        N, the number of images.
    dtype, rows_per_shard
        How rows are stored.
    timestep_weights
        `none`, or `unit-gradient`: gradients are of unit length at every timestep.
    """

    model: str
    weights: str
    parameters: str
    num_parameters: int
    output_function: str
    timesteps: tuple[int, ...]
    noise_keying: str
    noise_draws: int
    seed: int
    projector: str
    projector_version: int
    proj_dim: int
    image_shape: str
    precision: str
    images: str
    samples: int
    dtype: str
    rows_per_shard: int
    timestep_weights: str = "none"

    def hash(self) -> str:
        """Return one xxh3-128 over all fields."""
        text = json.dumps(self.recorded(), sort_keys=True)
        return xxhash.xxh3_128_hexdigest(text.encode())

    @property
    def has_residuals(self) -> bool:
        """Return whether each row has a residual beside its feature."""
        return self.timestep_weights != "none"

    def recorded(self) -> dict[str, Any]:
        """Return the fields as they are kept on disk.

        Fields that were added later are left out at their defaults: a store that does without
        them has the fingerprint it always had.
        """
        added = {each.name: each.default for each in fields(self) if each.default is not MISSING}
        record = asdict(self)
        return {name: value for name, value in record.items() if value != added.get(name, MISSING)}

    def refuse_other_run(self, requested: Fingerprint, *, where: object) -> None:
        """Refuse to continue this store as `requested`.

        Raises
        ------
        FingerprintMismatchError
            Naming the first field that differs, and both values.
        """
        self._refuse(
            requested,
            (field.name for field in fields(self)),
            where=where,
            remedy="give the options the store was begun with, or another --store (or --run)",
        )

    def refuse_other_features(self, other: Fingerprint, *, where: object) -> None:
        """Refuse to compare features of this store with those of a store made otherwise.

        Images, their number, and how rows are stored may differ. Features along a sampling path
        are compared with those of `simple`, at whatever timesteps and draws.

        Raises
        ------
        FingerprintMismatchError
            Naming the first field that differs, and both values.
        """
        may_differ = {*STORAGE_FIELDS, *(PATH_FIELDS if self._is_path_of(other) else ())}
        names = (field.name for field in fields(self) if field.name not in may_differ)
        remedy = "featurize both stores with the same model and options"
        self._refuse(other, names, where=where, remedy=remedy)

    def _is_path_of(self, other: Fingerprint) -> bool:
        kinds = {each.output_function.partition("(")[0] for each in (self, other)}
        return kinds == {"trajectory", "simple"}

    def _refuse(
        self, other: Fingerprint, names: Iterable[str], *, where: object, remedy: str
    ) -> None:
        for name in names:
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                raise FingerprintMismatchError(name, mine, theirs, where=where, remedy=remedy)
