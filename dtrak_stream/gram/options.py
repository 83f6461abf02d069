"""What computing a Gram matrix is given, and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from dtrak_stream.support.cluster_options import ClusterFlags, ClusterOptions
from dtrak_stream.support.memory import parse_size


@dataclass(frozen=True)
class GramOptions:
    """How the Gram matrix is computed."""

    memory_limit: str = "4GiB"
    """Memory for arrays while computing Gram matrix and scores; larger work is cut into tiles. \
Workers have so much each."""
    gram_form: Literal["auto", "primal", "dual"] = "auto"
    """primal: Phi^T Phi; dual: Phi Phi^T, which is smaller when N <= k; auto: the smaller one."""

    def __post_init__(self) -> None:
        parse_size(self.memory_limit, flag="--memory-limit")


GramFlags = Annotated[tyro.conf.OmitArgPrefixes[GramOptions], tyro.conf.arg(name="gram")]
"""The same as flags without a prefix, framed as "gram options" in help."""


@dataclass(frozen=True)
class GramConfig:
    """Compute the Gram matrix of a store of features out of core, resumably."""

    store: Path
    """Feature store of the training images."""
    out: Path
    """HDF5 file to write."""
    options: GramFlags = field(default_factory=GramOptions)
    cluster: ClusterFlags = field(default_factory=ClusterOptions)
    quiet: bool = False
    """Draw no progress bars; what was found and decided is said all the same, a line each."""
    device: str = "auto"
    """Where features are multiplied: auto (a GPU where there is one), cpu, cuda or cuda:1."""
    tf32: bool = False
    """Let a GPU cut the factors of products to 11 bits: faster, and only good to 3 digits."""


@dataclass(frozen=True)
class GramResult:
    """What computing the Gram matrix did.

    Attributes
    ----------
    path
        The HDF5 file.
    computed
        Number of products computed by this call; 0 if the file was already there.
    quarantined
        Always 0: bad samples were reported when they were featurized.
    """

    path: Path
    computed: int
    quarantined: int = 0
