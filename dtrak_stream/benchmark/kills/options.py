"""Every option of the benchmark of runs that are killed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.support.option_values import require_number, require_seed

MethodName = Literal["best", "d-trak"]


@dataclass(frozen=True)
class KillsConfig:
    """Featurize many images by a command that is killed (SIGKILL) at random and started again.

    For each method, the command is killed at moments drawn over the whole run, the last one is
    left to end, and the same is computed once more undisturbed: all of it, or a tenth of the
    shards. Shards are compared byte by byte, some rows are computed again by verify --deep, and
    the rates of the first and the last tenth of the images are told. One thread a process.
    """

    fashion_mnist: Path | None = None
    """Folder of the Fashion-MNIST files (train-images-idx3-ubyte.gz and so on); Debian's package
    dataset-fashion-mnist has them. Its images are shrunk to 8x8, and a small model is trained on
    the first 2,000. Without it: random images, and the small model that comes along."""
    images: int = 60_000
    """Images to featurize."""
    methods: tuple[MethodName, ...] = ("best", "d-trak")
    """Methods whose features are computed."""
    kills: int = 10
    """Times that each run is killed."""
    whole: tuple[MethodName, ...] = ("best",)
    """Methods whose features are all computed again undisturbed; of others, a tenth of the shards
    is, drawn at random."""
    deep: int = 8
    """Rows of each store that verify --deep computes again."""
    rows_per_shard: int = 512
    """Rows of a shard; a crash costs at most two."""
    batch_size: int = 128
    """Images in one pass; rounding depends on it, so that it is not left to a measurement."""
    steps: int = 400
    """Training steps of the small model."""
    seed: int = 0
    """Seed of the moments of killing, and of the choice of shards."""
    work: Path | None = None
    """Folder for model and stores, made if need be (default: the system's folder for
    temporary files)."""
    out: Path = Path("runs/bench/kills")
    """Results: OUT.json and OUT.md."""

    def __post_init__(self) -> None:
        require_seed(self.seed)
        require_number("--rows-per-shard", self.rows_per_shard, 1, 2**31)
        for flag, value, least in (
            ("--images", self.images, 1),
            ("--kills", self.kills, 1),
            ("--deep", self.deep, 1),
            ("--batch-size", self.batch_size, 1),
            ("--steps", self.steps, 1),
        ):
            require_number(flag, value, least)
        if self.num_shards < self.kills + 2:
            raise ConfigurationError(
                f"{self.kills} kills in {self.num_shards} shards would meet in one of them",
                where="--kills",
                remedy="give fewer, more --images, or fewer --rows-per-shard",
            )

    @property
    def num_shards(self) -> int:
        """Return how many shards a store has."""
        return -(-self.images // self.rows_per_shard)
