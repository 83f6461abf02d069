"""What a scoring run is given, and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from dtrak_stream.groups.options import GroupFlags, GroupOptions
from dtrak_stream.methods import METHODS, Method
from dtrak_stream.scoring.transforms import TransformName, transforms_in_words
from dtrak_stream.support.memory import parse_size
from dtrak_stream.support.option_values import require_number
from dtrak_stream.support.unused_options import refuse_unused, without_unused

SeenMode = Literal["off", "weight", "filter"]


@dataclass(frozen=True)
class ScoreOptions:
    """How features become scores."""

    method: str = "d-trak"
    """Attribution method, such as d-trak, trak or gradient-cosine; list describes all of them."""
    damping: str = "auto"
    """lambda: auto (by effective degrees of freedom; how many, held-out images tell for squared \
scores), auto-oas (by shrinkage), a multiple of the mean eigenvalue such as 0.1, abs:500, several \
of these as 0.01,0.1,abs:500, or path."""
    transform: Annotated[TransformName, tyro.conf.arg(help=transforms_in_words())] = "none"
    """What is done to the scores: a row of the table of transforms."""
    top_k: int = 100
    """Length of the lists of proponents and of opponents that are kept for each query."""
    save_scores: Literal["auto", "yes", "no"] = "auto"
    """Keep the whole (queries, training samples) matrix; auto: if it fits in the memory limit."""
    checkpoint_weights: str = "equal"
    """Weights of the checkpoints of tracincp and gas, such as 1,0.5,0.25 (learning rates)."""
    seen: SeenMode = "off"
    """What scores make of the probability that the model saw a training image (held-out images \
tell it): weight multiplies by it; filter by 0 where it is below 1/2; off leaves it beside them."""
    error_bars: bool = False
    """Also give the standard error of each score that the random projection causes."""

    def __post_init__(self) -> None:
        require_number("--top-k", self.top_k, 1)


ScoreFlags = Annotated[tyro.conf.OmitArgPrefixes[ScoreOptions], tyro.conf.arg(name="score")]
"""The same as flags without a prefix, framed as "score options" in help."""


_OF_TRUTH = ("truth", "loss_key", "subsets")
_OF_FEATURES = (
    *("train", "query", "gram", "residuals", "held_out", "pixels", "held_out_pixels"),
    *("neighbours", "device", "tf32"),
)
_OF_SCORES_FROM_FEATURES = (*("damping", "transform", "checkpoint_weights", "seen", "error_bars"),)

Paths = Path | tuple[Path, ...]


@dataclass(frozen=True)
class ScoreConfig:
    """Score every training sample for every query, from stored features, resumably.

    Several training stores, with as many query stores and Gram matrices, are several models,
    checkpoints of one, or kernels of it by a timestep each: their scores are averaged. A method
    that is a sum of streams (mix) takes one of each for every stream, in their order, or the
    folders of a run that hold them all.
    """

    train: Paths = ()
    """Feature store of the training images; one for each model."""
    query: Paths = ()
    """Feature store of the queries; one for each model."""
    gram: Paths | None = None
    """Gram matrix of the training store (dtrak-stream gram), for methods with a kernel; one for \
each model."""
    out: Path = Path("scores.h5")
    """HDF5 file to write."""
    options: ScoreFlags = field(default_factory=ScoreOptions)
    memory_limit: str = "4GiB"
    """Memory for arrays."""
    truth: Path | None = None
    """Losses of models retrained on subsets (npz), for empirical-influence and datamodel, which \
need no features."""
    loss_key: str = "loss"
    """Which set of queries in --truth: the key of its losses, or the name it was given."""
    subsets: str = ":"
    """Which subsets of --truth are used, such as 0:32: judge scores by others than these."""
    quiet: bool = False
    """Draw no progress bars; what was found and decided is said all the same, a line each."""
    groups: GroupFlags = field(default_factory=GroupOptions)
    device: str = "auto"
    """Where features are multiplied: auto (a GPU where there is one), cpu, cuda or cuda:1."""
    tf32: bool = False
    """Let a GPU cut the factors of products to 11 bits: faster, and only good to 3 digits."""
    residuals: Path | None = None
    """Store of the residuals of the training images (featurize --output-function residuals): with \
--held-out, each gets a probability that the model saw it, and squared scores a damping."""
    held_out: Path | None = None
    """Store of the residuals of images of the same kind that the model did not see, 80 or more."""
    neighbours: int = 0
    """Tell what the model saw by residuals relative to those of so many images nearest in pixels, \
such as 20, among training and held-out images (0: by residuals themselves)."""
    pixels: Path | None = None
    """Store of pixels of the training images (featurize --output-function pixels, of large images \
with --projector sketch --proj-dim 512), for --neighbours. What is found lies beside --residuals."""
    held_out_pixels: Path | None = None
    """Store of the pixels of the held-out images, made alike."""

    def __post_init__(self) -> None:
        parse_size(self.memory_limit, flag="--memory-limit")
        require_number("--neighbours", self.neighbours, 0)


def used_by(method: Method, config: ScoreConfig) -> ScoreConfig:
    """Return what a method uses of the options of scoring.

    What is about a kernel is left out, and said, for a method without one: it takes the same
    features as its neighbours. What another kind of method is computed from is refused.

    Raises
    ------
    ConfigurationError
        If losses of retrained models are given to a method that compares features, or the other
        way round.
    """
    if method.needs == "subsets":
        why = f"{method.name} is computed from --truth alone"
        refuse_unused(config, _OF_FEATURES, why)
        refuse_unused(config.options, _OF_SCORES_FROM_FEATURES, why)
        refuse_unused(config.groups, ("groups", "group_column"), why)
        if config.options.save_scores == "no":
            refuse_unused(config.options, ["save_scores"], f"{method.name} keeps all scores")
        return config
    users = " and ".join(each.name for each in METHODS.values() if each.needs == "subsets")
    refuse_unused(config, _OF_TRUTH, f"only {users} are computed from retrained models")
    if method.uses_kernel:
        return config
    why = f"{method.name} has no kernel"
    options = without_unused(config.options, ["damping"], why)
    return replace(without_unused(config, ["gram"], why), options=options)


@dataclass(frozen=True)
class ScoreResult:
    """What scoring did.

    Attributes
    ----------
    path
        The HDF5 file.
    computed
        Number of blocks scored by this call; 0 if the file was already there.
    quarantined
        Samples of either set that have no scores.
    """

    path: Path
    computed: int
    quarantined: int


def as_tuple(paths: Paths | None) -> tuple[Path, ...]:
    """Return one path, several, or none as a tuple."""
    if paths is None:
        return ()
    return (paths,) if isinstance(paths, Path) else paths
