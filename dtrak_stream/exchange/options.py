"""What importing and exporting are given, and what they give back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from dtrak_stream.data.options import ImageOptions
from dtrak_stream.errors import ConfigurationError
from dtrak_stream.objective.function_names import formulas_in_words
from dtrak_stream.projectors.table import PROJECTORS
from dtrak_stream.support.option_values import own_folders, require_number, require_seed

if TYPE_CHECKING:
    DeclaredProjector = str
else:
    DeclaredProjector = Literal[(*PROJECTORS, "other")]

_OUTPUT_FUNCTION = f"What was differentiated: {formulas_in_words()}, or interpolation(ETA)."


@dataclass(frozen=True)
class ArrayOptions:
    """Which array is read, and what it is declared to be."""

    array: tuple[Path, ...]
    """Features of N samples, (N, Z): an npy file (TRAK's .mmap files are such), or a raw memory \
map; or several that hold the rows one after the other. Of files that D-TRAK named \
(...-train-keys-SPLIT-K-Z-F-uniform.npy), the name says order and shape."""
    array_shape: str | None = None
    """Shape of the array, of all files together, such as 5000x65536: needed for a raw memory map \
whose name does not tell, checked otherwise."""
    array_dtype: str | None = None
    """Type of its numbers, float16, float32 or float64: needed for a raw memory map whose name \
does not tell, checked otherwise."""
    array_order: Literal["C", "F"] = "C"
    """Order of the numbers of a raw memory map: C, one sample after the other, or F, one column \
after the other."""
    used_dim: int | None = None
    """Keep the first so many of the Z columns (D-TRAK stores 65536 and uses 32768). Default: \
all."""
    row_order: Path | None = None
    """Integer npy file: row i of the store is row order[i] of the array; rows may be left out. \
Default: the order of the array."""

    def __post_init__(self) -> None:
        require_number("--used-dim", self.used_dim, 1)


@dataclass(frozen=True)
class DeclaredFeatures:
    """What the features are: give the same for training images and queries."""

    source: str
    """Where the features come from, in your words: model, checkpoint, program. Stores are \
compared only if it is the same."""
    output_function: Annotated[str, tyro.conf.arg(help=_OUTPUT_FUNCTION)]
    """What was differentiated: a row of the table of formulas, or an interpolation."""
    timesteps: str
    """Timesteps f was averaged over: 10 or uniform:10, cumulative:10, list:0,250,500; none for \
features without timesteps."""
    projector: DeclaredProjector
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

    def __post_init__(self) -> None:
        require_number("--num-train-timesteps", self.num_train_timesteps, 1)
        require_number("--noise-draws", self.noise_draws, 1)
        require_seed(self.seed)
        require_number("--num-parameters", self.num_parameters, 0)


@dataclass(frozen=True)
class RowRules:
    """What is done with rows that cannot be a feature, or hardly are one."""

    bad_rows: Literal["refuse", "quarantine"] = "refuse"
    """Rows with NaN or inf: refuse the array, or import it without these samples."""
    zero_rows: Literal["refuse", "keep"] = "refuse"
    """Rows of zeros, which a memory map has where its program never got to: refuse, or keep."""


@dataclass(frozen=True)
class PickedImages:
    """Which images of a source give their ids."""

    split: str | None = None
    """Split of --images, where there are several; all for all."""
    path_column: str | None = None
    """Column of paths where --images is list:FILE, or a pattern such as images/{label}/{name}."""
    rows: Path | None = None
    """File of row numbers (.txt, .npy, .json, .pkl) that picks and orders those of --images."""

    def of(self, images: str | None) -> ImageOptions:
        """Return how the source `images` is opened.

        Raises
        ------
        ConfigurationError
            If there is none, of which anything could be picked.
        """
        given = {"--split": self.split, "--path-column": self.path_column, "--rows": self.rows}
        flags = [flag for flag, value in given.items() if value is not None]
        if images is None and flags:
            raise ConfigurationError(
                "nothing is picked where no images are named",
                where=", ".join(flags),
                remedy="give --images with it, or leave it out",
            )
        return ImageOptions(split=self.split, path_column=self.path_column, rows=self.rows)


@dataclass(frozen=True)
class ImportConfig:
    """Bring features that TRAK, D-TRAK or another program computed into a store, resumably.

    The array does not say what it holds, so that has to be declared; shape, type, ids and every
    number are checked before the first shard is written. Import the features of the training
    images and of the queries with the same declarations, into two stores, and dtrak-stream gram and
    dtrak-stream score take them as they take stores of dtrak-stream featurize. Features that D-TRAK
    wrote: --array features-0/*-train-keys-*.npy --used-dim 32768 --projector normal
    --scale "1/sqrt(k)" --ids idx-train.pkl.
    """

    array: tyro.conf.OmitArgPrefixes[ArrayOptions]
    store: Path = field(metadata=own_folders())
    """Folder of the feature store to write, or to continue."""
    features: tyro.conf.OmitArgPrefixes[DeclaredFeatures]
    ids: Path | None = None
    """File with the id of each sample, one a line, in the order of the store; or a pickle of \
whole numbers, such as D-TRAK's idx-train.pkl."""
    images: str | None = None
    """Image source whose ids the samples have, in its order, so that a report can show them; \
a hash of its pictures is kept. Default without --ids: row numbers."""
    picked: tyro.conf.OmitArgPrefixes[PickedImages] = field(default_factory=PickedImages)
    rules: tyro.conf.OmitArgPrefixes[RowRules] = field(default_factory=RowRules)
    dtype: Literal["float16", "float32"] = "float32"
    """How features are stored; float16 has a scale for each row, and half the size."""
    rows_per_shard: int = 1024
    """Samples in one file of the store; a crash costs at most one shard of work."""
    redo_corrupt: bool = False
    """Write shards again that are truncated or fail their checksum, instead of refusing."""
    quiet: bool = False
    """Draw no progress bars; what was found and decided is said all the same, a line each."""

    def __post_init__(self) -> None:
        require_number("--rows-per-shard", self.rows_per_shard, 1, 2**31)


@dataclass(frozen=True)
class ImportResult:
    """What importing did.

    Attributes
    ----------
    path
        Folder of the store.
    quarantined
        Number of samples without a feature.
    computed
        Number of samples written by this call; 0 if the store was already complete.
    """

    path: Path
    quarantined: int
    computed: int


@dataclass(frozen=True)
class ExportConfig:
    """Write the features of a store, or the scores of a scores file, for other programs.

    The suffix of --out chooses the format. .npy: numpy.load(FILE, mmap_mode="r"). .safetensors:
    one tensor, "features" or "scores". .fvecs: features for FAISS, each row its length (int32)
    and its float32 numbers: x = numpy.fromfile(FILE, "int32"); x = x.reshape(-1, x[0] + 1)[:,
    1:].copy().view("float32"); index = faiss.IndexFlatIP(x.shape[1]); index.add(x). .csv: the
    rankings of a scores file, with query id, rank, training id, score, and whether it is a
    proponent or an opponent. The ids of rows (and columns) are written beside the file; beside
    an npy of features, also FILE.import.yaml, with which dtrak-stream import-features takes them
    back. The probability that the model saw a training image, where scores have it, is a column of
    the csv; beside an array of scores it is FILE.seen.npy, a number for each column.
    """

    out: Path
    """File to write: .npy, .safetensors, .fvecs or .csv."""
    store: Path | None = None
    """Feature store to export."""
    scores: Path | None = None
    """Scores file to export."""
    quarantined: Literal["skip", "nan"] = "skip"
    """Samples without a feature: skip them (the lists of ids beside the file say who is there), \
or fill their rows (and columns) with NaN."""
    top_k: int | None = None
    """Length of the lists in a csv. Default: as long as in the scores file."""
    quiet: bool = False
    """Draw no progress bars; what was found and decided is said all the same, a line each."""


@dataclass(frozen=True)
class ExportResult:
    """What exporting did.

    Attributes
    ----------
    path
        The file.
    quarantined
        Samples that are left out, or NaN.
    """

    path: Path
    quarantined: int
