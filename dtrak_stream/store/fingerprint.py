"""What a feature depends on. Features are joined, and runs resumed, only if this agrees."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

import xxhash

from dtrak_stream.errors import refuse_differences

STORAGE_FIELDS = ("images", "samples", "dtype", "rows_per_shard")
"""What may differ between stores whose features are compared."""
IMPORTED = "imported"
"""What stands for the weights that features of another program were computed with."""


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
        How the parts of a feature are weighed; rows have residuals unless it is `none`.
    bandwidth
        m of random Fourier features, found on training images; None for features without.
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
    bandwidth: float | None = None

    def hash(self) -> str:
        """Return one xxh3-128 over all fields."""
        text = json.dumps(self.recorded(), sort_keys=True)
        return xxhash.xxh3_128_hexdigest(text.encode())

    @property
    def is_imported(self) -> bool:
        """Return whether another program computed the features: `images` is a hash of those."""
        return self.weights == IMPORTED

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

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Fingerprint:
        """Return the fingerprint that was `recorded`.

        Raises
        ------
        TypeError
            If a field is missing, or unknown.
        """
        # JSON has no tuples
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in record.items()
        }
        return cls(**values)

    def refuse_other(
        self, other: Fingerprint, *, may_differ: Collection[str] = (), where: object, remedy: str
    ) -> None:
        """Refuse to use two stores as one.

        Parameters
        ----------
        other
            What the other store depends on, or is to depend on.
        may_differ
            Fields that do not matter.
        where, remedy
            Of the refusal.

        Raises
        ------
        FingerprintMismatchError
            Naming the first field that differs, and both values.
        """
        names = [each.name for each in fields(self) if each.name not in may_differ]
        pairs = ((name, getattr(self, name), getattr(other, name)) for name in names)
        refuse_differences(pairs, where=where, remedy=remedy)
