"""The methods table: what each method needs, and what it does with the features.

A method is one line here. Everything else reads its columns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.features.names import is_of_images, kind_of
from dtrak_stream.features.options import (
    DEFAULT_PROJ_DIM,
    FeatureOptions,
    own_or,
    used_options,
)
from dtrak_stream.objective.function_names import LOSSES, PREDICTIONS, interpolation_eta
from dtrak_stream.objective.timesteps import DEFAULT_TIMESTEPS

Needs = Literal[
    "gradients",
    "pixels",
    "clip",
    "rff-pixels",
    "rff-activations",
    "trajectory",
    "unit-gradients",
    "streams",
    "subsets",
]

NEEDS: dict[Needs, str] = {
    "gradients": "gradients of queries and training samples",
    "pixels": "pixels as features",
    "clip": "CLIP image features",
    "rff-pixels": "random Fourier features of pixels",
    "rff-activations": "random Fourier features of what a layer says",
    "trajectory": "gradients, of queries along their sampling path",
    "unit-gradients": "gradients of unit length per timestep, residuals r",
    "streams": "features of several kinds",
    "subsets": "models retrained on random subsets (--truth)",
}
"""What each kind of features or results is, in words."""

_PREDICTIONS = (*PREDICTIONS, "interpolation", "probe")
_ANY = (*LOSSES, *_PREDICTIONS)


@dataclass(frozen=True)
class Stream:
    """One term of the sum that a method's score is: w T(S) / c, from features of its own.

    Several kernels of one kind of features, such as one for each timestep, are streams, too.

    Attributes
    ----------
    output_function
        What its features are of unless told otherwise.
    output_functions
        What they may be of for the method to be called by its name.
    timesteps, proj_dim
        What --timesteps and --proj-dim are unless told otherwise.
    timestep_weights
        What --timestep-weights is of its features.
    transform
        T: a row of the table in `scoring.transforms`.
    weight
        w.
    scaled
        Whether c is the mean of |T(S)| over a sample of queries and training samples, so that
        streams of any size add up; else c is 1.
    name
        What its folders and files are called; nothing where a method has one stream only.
    """

    output_function: str
    output_functions: tuple[str, ...]
    timesteps: str = DEFAULT_TIMESTEPS
    proj_dim: int = DEFAULT_PROJ_DIM
    timestep_weights: Literal["none", "unit-gradient"] = "none"
    transform: str = "none"
    weight: float = 1.0
    scaled: bool = False
    name: str = ""

    def takes(self, output_function: str) -> bool:
        """Return whether features of this function, or of its kind, are what it is of."""
        kind = kind_of(output_function)
        return not {kind, output_function}.isdisjoint(self.output_functions)


@dataclass(frozen=True)
class Method:
    """One attribution method.

    Attributes
    ----------
    name
        Name on the command line.
    formula
        The score of a query q and a training sample n, from their features phi.
    source
        Where it was published.
    needs
        Kind of features (or of results) it is computed from.
    streams
        What its score is the sum of, each of features of its own: one stream for most methods,
        none for those that are computed from no features.
    uses_kernel
        Whether features go through K^-1 = (Phi^T Phi + lambda I)^-1.
    normalisation
        What scores are divided by: a row of the table in `scoring.normalisation`.
    cost
        What it costs besides one pass over the features; p parameters, T timesteps.
    query_output_function
        What the features of queries are of, where it is not what those of training samples are.
    weighs_checkpoints
        Whether its checkpoints may have weights of their own in the average.
    """

    name: str
    formula: str
    source: str
    needs: Needs
    streams: tuple[Stream, ...]
    uses_kernel: bool
    normalisation: str
    cost: str
    query_output_function: str | None = None
    weighs_checkpoints: bool = False

    @property
    def transform(self) -> str:
        """Return what it does to the score itself, named as of its first stream.

        Where that is something, no other transform is taken.
        """
        return self.streams[0].transform if self.streams else "none"

    @property
    def is_sum(self) -> bool:
        """Return whether it adds up several streams, with names."""
        return len(self.streams) > 1


_DOT = "phi_q . phi_n"
_COSINE = "phi_q . phi_n / (|phi_q| |phi_n|)"
_CORE = "phi_q^T K^-1 phi_n"
_BEST = "s |s|, s = phi_q^T K^-1 phi_n"
_VARIANCE = "(psi_q^T K^-1 psi_n)^2, K of exp(-|x - y|^2 / 2m)"
_OF_LAYER = "s |s|, s = psi_q^T K^-1 psi_n, psi of a layer"
_MIX = "2 S_phi / c_phi + S_psi / c_psi, S = s |s|, c = mean |S|"
_DAS = "(phi_q^T K^-1 phi_n r_n / (1 - h_n))^2"
_GRADIENTS = "N T gradients"
_KERNEL = f"{_GRADIENTS}, Gram, one solve"
_MODELS = f"S x {_GRADIENTS}"
_ONE_STEP, _AVERAGED = "trajectory(one-step)", "trajectory(averaged)"

# fmt: off
_PIXELS = Stream("pixels", ("pixels",))
_CLIP = Stream("clip", ("clip",))
_FOURIER = Stream("rff(pixels)", ("rff(pixels)",), proj_dim=1024, transform="square")
_GRADIENT = Stream("simple", _ANY)
_OF_LOSS = Stream("simple", LOSSES)
_OF_PREDICTION = Stream("square", _PREDICTIONS)
_OF_PATH = Stream("simple", ("simple",))
_SQUARED = Stream("avg", ("avg",), "share:0.06,0.2", 1024, transform="signed-square")
_UNIT = Stream("avg", ("avg",), timestep_weights="unit-gradient", transform="square")
_LAYER = Stream("rff(activation(auto))", ("rff(activation)",), "share:0.4", 1024, transform="signed-square")
_SUM = (
    replace(_SQUARED, timesteps="share:0.02,0.06", weight=2.0, scaled=True, name="gradients"),
    replace(_LAYER, scaled=True, name="activations"),
)
_TABLE = (
    Method("pixel-dot", _DOT, "baseline", "pixels", (_PIXELS,), False, "none", "reading images"),
    Method("pixel-cosine", _COSINE, "baseline", "pixels", (_PIXELS,), False, "cosine", "reading images"),
    Method("clip-dot", _DOT, "Radford et al. 2021", "clip", (_CLIP,), False, "none", "N CLIP passes"),
    Method("clip-cosine", _COSINE, "Radford et al. 2021", "clip", (_CLIP,), False, "cosine", "N CLIP passes"),
    Method("pixel-rbf", _VARIANCE, "control: no model", "rff-pixels", (_FOURIER,), True, "none", "reading images, Gram, one solve"),
    Method("gradient-dot", _DOT, "Charpiat et al. 2019", "gradients", (_GRADIENT,), False, "none", _GRADIENTS),
    Method("gradient-cosine", _COSINE, "Charpiat et al. 2019", "gradients", (_GRADIENT,), False, "cosine", _GRADIENTS),
    Method("tracincp", f"mean over checkpoints of {_DOT}", "Pruthi et al. 2020", "gradients", (_GRADIENT,), False, "none", _MODELS, weighs_checkpoints=True),
    Method("gas", "mean over checkpoints of cosine", "Hammoudeh and Lowd 2022", "gradients", (_GRADIENT,), False, "cosine", _MODELS, weighs_checkpoints=True),
    Method("trak", _CORE, "Park et al. 2023", "gradients", (_OF_LOSS,), True, "none", _KERNEL),
    Method("d-trak", _CORE, "Zheng et al. 2024", "gradients", (_OF_PREDICTION,), True, "none", _KERNEL),
    Method("best", _BEST, "this project (README)", "gradients", (_SQUARED,), True, "none", "2 N gradients, Gram, one solve"),
    Method("activation-rbf", _OF_LAYER, "this project (README)", "rff-activations", (_LAYER,), True, "none", "N forward passes, Gram, one solve"),
    Method("mix", _MIX, "this project (README)", "streams", _SUM, True, "none", "2 N gradients, N forward passes, 2 Grams, 2 solves"),
    Method("relative-if", f"{_CORE} / |K^-1 phi_n|", "Barshan et al. 2020", "gradients", (_GRADIENT,), True, "relative-if", f"{_KERNEL}, N solves"),
    Method("renorm-if", f"{_CORE} / |phi_n|", "Hammoudeh and Lowd 2022", "gradients", (_GRADIENT,), True, "renorm", _KERNEL),
    Method("journey-trak", f"{_CORE}, q: one step of its sampling", "Georgiev et al. 2023", "trajectory", (_OF_PATH,), True, "none", _KERNEL, query_output_function=_ONE_STEP),
    Method("journey-trak-averaged", f"{_CORE}, q: mean over its sampling", "Zheng et al. 2024", "trajectory", (_OF_PATH,), True, "none", _KERNEL, query_output_function=_AVERAGED),
    Method("das", _DAS, "Lin et al. 2025, paper form", "unit-gradients", (_UNIT,), True, "leverage", f"{_KERNEL}, N solves"),
    Method("empirical-influence", "mean loss of q without n - with n", "Feldman and Zhang 2020", "subsets", (), False, "none", "M retrained models"),
    Method("datamodel", "-coefficient of n, ridge of q's loss", "Ilyas et al. 2022", "subsets", (), False, "none", "M retrained models"),
)
# fmt: on

METHODS: dict[str, Method] = {method.name: method for method in _TABLE}


def methods_of_images_and_model() -> list[Method]:
    """Return the methods that take no retrained models, sampling paths or other networks."""
    others = ("subsets", "trajectory", "clip")
    return [method for method in METHODS.values() if method.needs not in others]


def find_method(name: str) -> Method:
    """Return the method called `name`.

    Raises
    ------
    ConfigurationError
        If there is none.
    """
    if name not in METHODS:
        raise ConfigurationError(
            "unknown method",
            where=f"--method {name}",
            remedy=f"use one of: {', '.join(METHODS)} (--method list describes them)",
        )
    return METHODS[name]


def refuse_other_output_function(method: Method, output_function: str, number: int = 0) -> None:
    """Refuse training features that are not what the method differentiates.

    Parameters
    ----------
    method, output_function
        The method, and what features are of.
    number
        Which of its streams they are for.

    Raises
    ------
    ConfigurationError
        Naming the output functions it takes.
    """
    stream = method.streams[number]
    if kind_of(output_function) == "interpolation":
        interpolation_eta(output_function)
    if not stream.takes(output_function):
        who = f"stream {stream.name} of {method.name}" if stream.name else method.name
        raise ConfigurationError(
            f"{who} takes features of {', '.join(stream.output_functions)}, "
            f"not of {output_function}",
            where=f"--method {method.name}",
            remedy=f"featurize with --output-function '{stream.output_function}', give the stores "
            "in the order of the streams, or choose another --method"
            if stream.name
            else f"featurize with --output-function {stream.output_function}, "
            "or choose another --method",
        )


def features_of(method: Method, options: FeatureOptions, number: int = 0) -> FeatureOptions:
    """Return what features of training samples are, the method choosing what the user did not.

    Options that mean nothing for such features are left out, and said.

    Parameters
    ----------
    method, options
        The method, and what the user chose.
    number
        Which of its streams the features are for.

    Raises
    ------
    ConfigurationError
        If the user chose an output function that the method does not take, or what the streams of
        a method have each of their own.
    """
    stream = method.streams[number]
    if method.is_sum:
        _refuse_one_for_all(method, options)
    chosen = options.output_function or stream.output_function
    refuse_other_output_function(method, chosen, number)
    options = used_options(replace(options, output_function=chosen))
    if stream.timestep_weights != "none":
        options = replace(options, timestep_weights=stream.timestep_weights)
    if not is_of_images(chosen):
        options = replace(options, timesteps=options.timesteps or stream.timesteps)
    if options.projector != "identity":
        options = replace(options, proj_dim=own_or(options.proj_dim, stream.proj_dim))
    return options


def _refuse_one_for_all(method: Method, options: FeatureOptions) -> None:
    """Refuse one value of what each stream of a sum has of its own."""
    usual = FeatureOptions()
    for name in ("output_function", "timesteps", "timestep_weights"):
        if (value := getattr(options, name)) != getattr(usual, name):
            streams = " and ".join(stream.name for stream in method.streams)
            raise ConfigurationError(
                f"{method.name} is a sum of streams ({streams}), which have each their own",
                where=f"--{name.replace('_', '-')} {value}",
                remedy="leave it out, or choose another --method",
            )
