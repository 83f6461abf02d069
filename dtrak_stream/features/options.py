"""The options that decide what a feature is."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

import tyro

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.features.names import (
    RESIDUALS,
    fourier_inside,
    is_of_images,
    layer_inside,
    vector_of,
)
from dtrak_stream.model.options import (
    ControlWeightsName,
    HalfName,
    LatentsName,
    LoadingOptions,
    LoraOptions,
    TimeIdsName,
    loras_given,
    require_guidance,
)
from dtrak_stream.objective.function_names import formulas_in_words
from dtrak_stream.objective.noise_keying import NoiseKeying
from dtrak_stream.projectors.table import ProjectorName, projectors_in_words
from dtrak_stream.support.option_values import REPEATABLE, require_number, require_seed
from dtrak_stream.support.unused_options import without_unused

MAX_NOISE_DRAWS = 65_535
DEFAULT_PROJ_DIM = 4096
_OF_GRADIENTS = (
    *("timesteps", "noise", "noise_draws", "parameters", "latents"),
    *("lora", "lora_scale", "lora_some_layers", "weights"),
    *("guidance", "t5_tokens", "time_ids", "base"),
)
_OF_PROJECTIONS = ("parameters", "timestep_weights", "projector", "proj_dim")
_OF_BACKWARD = ("parameters", "timestep_weights")
_NAMED_CHOICES = ("auto", "all", "lora")
DEFAULT_CLIP = "openai/clip-vit-base-patch32"
_OUTPUT_FUNCTION = (
    f"What is differentiated: {formulas_in_words()}, interpolation(ETA), or probe(J), J random "
    "projections of the output at once, a store for each; for queries, trajectory(one-step) or "
    "trajectory(averaged), simple along the path an image was generated on; or pixels or clip, "
    "image features without gradients; or activation(LAYER), what a module of the network says, "
    "of auto the last block, averaged over the timesteps; or rff(pixels), rff(clip) or "
    "rff(activation(LAYER)), random Fourier features of those; or residuals, how wrong the model "
    "is at each timestep, by forward passes alone. Default: the method's own (square for d-trak)."
)
_PROJECTOR = (
    f"Random projection: {projectors_in_words()}. Default: sketch for gradients; identity for "
    "pixels and clip, up to 65,536 numbers."
)


@dataclass(frozen=True)
class FeatureOptions:
    """What a feature is: the same for training images and queries."""

    output_function: Annotated[str | None, tyro.conf.arg(help=_OUTPUT_FUNCTION)] = None
    """What is differentiated: a row of the table of formulas, or a function of another kind."""
    timesteps: str | None = None
    """Timesteps f is averaged over: 10 or uniform:10, spread evenly over all T; cumulative:10, \
the first ones; list:0,250,500; or shares of T, share:0.06,0.2. Default: the method's own (10 for \
most; share:0.06 for residuals)."""
    noise: NoiseKeying = "shared"
    """shared: one noise a timestep for all samples, better scores; per-sample: keyed by id too."""
    noise_draws: int | None = None
    """Noise draws for each timestep (default: 1; 16 for residuals)."""
    timestep_weights: Literal["none", "unit-gradient"] = "none"
    """unit-gradient: bring the gradient at each timestep to unit length before the average, and \
keep a residual for each image (das)."""
    parameters: str = "auto"
    """Parameters whose gradients are taken: all, lora, or a regular expression over names. auto: \
lora where a LoRA is given, else all."""
    lora: tuple[str, ...] = field(default=(), metadata=REPEATABLE)
    """A LoRA on the model, its file or the folder of its training, or hf:OWNER/NAME, \
in the names of diffusers, PEFT or kohya. May be given again: their parts add up."""
    lora_scale: tuple[float, ...] = field(default=(), metadata=REPEATABLE)
    """What a LoRA is multiplied by, once for each --lora (default: 1)."""
    lora_some_layers: bool = False
    """Take a LoRA that leaves out layers of a kind it has elsewhere, as training on some blocks \
makes it."""
    weights: ControlWeightsName = "as-given"
    """Which weights of a training folder: raw, those of the last step; ema, their moving average; \
as-given, those of the folder that is named, raw where it holds both; untrained, random ones keyed \
by seed, for controls only."""
    latents: LatentsName = "mode"
    """What images become before a model of latents: the mode of the autoencoder's posterior, or a \
sample of it, keyed by seed and id."""
    guidance: float | None = None
    """What a network that was distilled with guidance is told of it (default: 3.5, of Flux.1 \
dev)."""
    t5_tokens: int | None = None
    """Tokens of a caption that T5 reads, the max_sequence_length of training (default: that of \
the model's pipeline)."""
    base: str | None = None
    """Pipeline that a network given alone as --model (its unet folder, a checkpoint-N) was \
trained from: autoencoder, text encoders and scheduler are taken from it."""
    time_ids: TimeIdsName = "image"
    """What Stable Diffusion XL is told of sizes: each image's own before it was resized and where \
it was cut, as in diffusers' training scripts; or always the model's, and no cut."""
    projector: Annotated[ProjectorName | None, tyro.conf.arg(help=_PROJECTOR)] = None
    """Random projection: a row of the table of projectors."""
    proj_dim: int | None = None
    """Length k of a projected feature, or D of random Fourier features: a multiple of 64 from 64 \
to 65,536. Default: the method's own (4,096 for most)."""
    bandwidth: float | None = None
    """Squared distance m of two images at which random Fourier features have the product \
exp(-1/2). Default: the median of pairs of training images, which queries have to be given where \
they are featurized by themselves."""
    seed: int = 0
    """Seed of the noise, the projector, the probes, random Fourier features and untrained \
weights."""
    dtype: Literal["float16", "float32", "int8"] = "float16"
    """How features are stored; float16 and int8 have a scale for each row. int8 rounds to a 127th \
of the largest number of a row. Residuals are always float32."""
    precision: Literal["float32", "tf32", "bfloat16", "float16"] = "float32"
    """What the model computes in: float32; tf32, on a GPU: float32 with factors cut to 11 bits, \
faster; bfloat16 or float16 (autocast, and tf32 for the rest on a GPU), in which what is not \
differentiated, such as all below a LoRA, is kept, too. Gradients and features are float32 in any \
case."""
    rows_per_shard: int = 1024
    """Images in one file of the store; a crash costs at most two shards of work, one being \
computed and one being written."""
    device: str = "auto"
    """Where the model runs: auto, cpu, cuda, cuda:1 ..."""
    clip: str = DEFAULT_CLIP
    """CLIP model of --output-function clip: a folder that save_pretrained wrote, or a hub id."""
    size: int | None = None
    """Side in pixels of the square images that the model was trained on, where its folder does \
not say it or says another one; of pixels and clip features, the side of the images that they are \
taken of (default: the size of the first image)."""

    def __post_init__(self) -> None:
        require_number("--noise-draws", self.noise_draws, 1, MAX_NOISE_DRAWS)
        require_number("--proj-dim", self.proj_dim, 1, 2**16)
        require_seed(self.seed)
        require_number("--rows-per-shard", self.rows_per_shard, 1, 2**31)
        require_number("--size", self.size, 1, 2**16)
        require_number("--t5-tokens", self.t5_tokens, 1, 4096)
        require_guidance(self.guidance)
        _require_bandwidth(self.bandwidth)
        self._loras()
        if 0 in self.lora_scale:
            raise ConfigurationError(
                "a LoRA of scale 0 has no gradients",
                where="--lora-scale",
                remedy="give a number other than 0, or leave out the LoRA",
            )

    def loading(self, own_lora: str | None = None) -> LoadingOptions:
        """Return how the model is read.

        Parameters
        ----------
        own_lora
            A LoRA that the model is named with, before those that are given.
        """
        own = () if own_lora is None else (LoraOptions(own_lora, 1.0, self.lora_some_layers),)
        loras = (*own, *self._loras())
        kept_whole = "" if loras or self.parameters in _NAMED_CHOICES else self.parameters
        return LoadingOptions(
            self.latents,
            self.seed,
            self.size,
            loras,
            "as-given" if self.weights == "untrained" else self.weights,
            self._half(bool(loras)),
            kept_whole,
            self.guidance,
            self.t5_tokens,
            self.time_ids,
            self.base,
            untrained=self.weights == "untrained",
        )

    def _loras(self) -> tuple[LoraOptions, ...]:
        return loras_given(self.lora, self.lora_scale, some_layers=self.lora_some_layers)

    def _half(self, with_lora: bool) -> HalfName | None:
        """Return the type that weights are read in where it is known which are differentiated.

        Names of layers below a LoRA are others once it is there: of those that a regular
        expression chooses then, nothing is known before.
        """
        halves: dict[str, HalfName] = {"bfloat16": "bfloat16", "float16": "float16"}
        known = (
            self.parameters in ("auto", "lora")
            if with_lora
            else (self.parameters not in _NAMED_CHOICES)
        )
        return halves.get(self.precision) if known else None


def _require_bandwidth(value: float | None) -> None:
    if value is not None and not (math.isfinite(value) and value > 0):
        raise ConfigurationError(
            "must be a number above 0", where=f"--bandwidth {value}", remedy="change it"
        )


def own_or(given: int | None, usual: int) -> int:
    """Return what was given; what is usual only if nothing was: 0 is for others to refuse."""
    return usual if given is None else given


def used_options(options: FeatureOptions) -> FeatureOptions:
    """Return the options without those that mean nothing for such features; say which those are."""
    function = options.output_function
    if is_of_images(function):
        options = without_unused(options, _OF_GRADIENTS, f"{function} features are no gradients")
    if function == RESIDUALS:
        options = without_unused(options, _OF_PROJECTIONS, "residuals are no gradients")
        options = replace(options, dtype="float32")
    if layer_inside(function) is not None:
        options = without_unused(options, _OF_BACKWARD, f"{function} features are no gradients")
    if vector_of(function) != "clip":
        options = without_unused(options, ["clip"], "CLIP is not what features are computed with")
    if fourier_inside(function) is None:
        options = without_unused(options, ["bandwidth"], "there are no random Fourier features")
    else:
        options = without_unused(options, ["projector"], f"{function} is a map of its own")
    if options.projector == "identity":
        options = without_unused(options, ["proj_dim"], "identity keeps every number")
    return options
