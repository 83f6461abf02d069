"""The recipes: each a sum of terms w T(S) / c, of features of its own. A recipe is a line.

T is s |s| unless a line says otherwise, c the mean of |T(S)| over queries and training images. The
damping is that of the rule `auto`: effective degrees of freedom of 0.12 N while N <= k.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.features.options import FeatureOptions

BASELINE = "best"
ALONG = "along-training"
"""The group whose models are trained anew: only if it, or one of it, is asked for."""
SHARES = (0.1, 0.3, 0.6, 1.0)
"""Of training, after which its weights are kept."""
HELD_OUT: Literal["held-out"] = "held-out"
LAST_BLOCK = "{last}"
"""Stands for the number of a network's last up block."""
_BYTES = {"float16": 2, "float32": 4, "int8": 1}
_BYTES_OF_SCALE = 4


@dataclass(frozen=True)
class Features:
    """What one stream is made of; columns as the options of the same names.

    Attributes
    ----------
    probes
        How many random outputs are differentiated: a store each.
    trained
        Share of the steps of a training of the same model, repeated here, after which its weights
        are taken; None for the weights of the model itself.
    """

    output_function: str = "avg"
    timesteps: str | None = "share:0.06,0.2"
    proj_dim: int = 1024
    dtype: Literal["float16", "float32", "int8"] = "float16"
    parameters: str = "auto"
    timestep_weights: Literal["none", "unit-gradient"] = "none"
    probes: int = 1
    weights: Literal["as-given", "untrained"] = "as-given"
    trained: float | None = None

    @property
    def decisive(self) -> dict[str, object]:
        """Return the columns that are other than usual: what is added later changes no name."""
        own = ((each.name, getattr(self, each.name), each.default) for each in fields(self))
        return {name: value for name, value, usual in own if value != usual}

    def options(self, device: str, last_block: int) -> FeatureOptions:
        """Return how they are computed, by a network whose last up block has that number."""
        return FeatureOptions(
            self.output_function,
            timesteps=self.timesteps,
            proj_dim=self.proj_dim,
            dtype=self.dtype,
            parameters=self.parameters.replace(LAST_BLOCK, str(last_block)),
            timestep_weights=self.timestep_weights,
            weights=self.weights,
            device=device,
        )

    @property
    def bytes_an_image(self) -> int:
        """Return what a row takes in the store."""
        return self.probes * (self.proj_dim * _BYTES[self.dtype] + _BYTES_OF_SCALE)

    @property
    def passes(self) -> int:
        """Return how often an image goes through the network: once a timestep."""
        if self.timesteps is None:
            return 0
        kind, _, listed = self.timesteps.rpartition(":")
        return len(listed.split(",")) if kind in ("share", "list") else int(listed)

    @property
    def differentiates(self) -> bool:
        """Return whether these passes go backward, too."""
        return not self.output_function.startswith("rff")


@dataclass(frozen=True)
class Way:
    """How scores s are computed from features.

    Attributes
    ----------
    method
        A row of the table of methods: its normalisation.
    freedom
        Effective degrees of freedom as a share of N; None for that of the rule, `held-out` for what
        held-out images tell it.
    """

    method: str = "d-trak"
    freedom: float | Literal["held-out"] | None = None


@dataclass(frozen=True)
class Term:
    """One stream of a recipe.

    Attributes
    ----------
    features, way
        What scores s are of, and how they are computed.
    weight
        w.
    transform
        T.
    of_each_probe
        Whether T is of the scores of each probe, and not of their mean.
    """

    features: Features
    way: Way = Way()
    weight: float = 1.0
    transform: str = "signed-square"
    of_each_probe: bool = False


@dataclass(frozen=True)
class Recipe:
    """A way to score.

    Attributes
    ----------
    group, name
        What it is about, and what it is called: no other is.
    terms
        What is added up.
    """

    group: str
    name: str
    terms: tuple[Term, ...]

    @property
    def gradients(self) -> int:
        """Return how often an image goes forward and backward; equal timesteps count once each."""
        return sum(each.passes for each in self._features if each.differentiates)

    @property
    def forwards(self) -> int:
        """Return how often an image goes forward only."""
        return sum(each.passes for each in self._features if not each.differentiates)

    @property
    def bytes_an_image(self) -> int:
        """Return what its rows take in all stores."""
        return sum(each.bytes_an_image for each in self._features)

    @property
    def _features(self) -> tuple[Features, ...]:
        return tuple(dict.fromkeys(term.features for term in self.terms))


_SIX = ("0.02", "0.06", "0.12", "0.2", "0.35", "0.6")
_BEST = Features()
_PROBE = replace(_BEST, output_function="probe(1)")
_PROBES = replace(_BEST, output_function="probe(4)", probes=4)
_LAYER = Features("rff(activation(auto))", "share:0.4")
_PIXELS = Features("rff(pixels)", None)
_LAST = replace(_BEST, parameters=rf"up_blocks\.{LAST_BLOCK}\.")
_EARLY = replace(_BEST, timesteps="share:0.02,0.06")
_TEN = replace(_BEST, timesteps="10")


def _one(group: str, name: str, features: Features, **columns: object) -> Recipe:
    return Recipe(group, name, (Term(features, **columns),))  # type: ignore[arg-type]


def _at(timesteps: Sequence[str], of: Features = _BEST, weight: float = 1.0) -> tuple[Term, ...]:
    """Return a term for each timestep by itself, of one weight together."""
    return tuple(
        Term(replace(of, timesteps=f"share:{each}"), weight=weight / len(timesteps))
        for each in timesteps
    )


def _with_layer(gradients: Features, weight: float, layer: Features = _LAYER) -> tuple[Term, ...]:
    return Term(layer), Term(gradients, weight=weight)


def _int8(features: Features) -> Features:
    return replace(features, dtype="int8")


def _layer(name: str, share: str = "0.4") -> Features:
    return Features(f"rff(activation({name}))", f"share:{share}")


# fmt: off
RECIPES: tuple[Recipe, ...] = (
    _one("best", BASELINE, _BEST),
    *(_one("damping", f"best, df = {share:g} N", _BEST, way=Way(freedom=share)) for share in (0.05, 0.08, 0.18, 0.25)),
    _one("damping", "best, df by held-out images", _BEST, way=Way(freedom=HELD_OUT)),
    *(_one("sketch", f"best, k = {k}", replace(_BEST, proj_dim=k)) for k in (256, 512, 4096)),
    _one("sketch", "best, int8", _int8(_BEST)),
    _one("probe", "probe(1)", _PROBE),
    _one("probe", "probe(1), int8", _int8(_PROBE)),
    _one("probe", "probe(4), mean", _PROBES),
    _one("probe", "probe(4), each squared", _PROBES, of_each_probe=True),
    *(_one("timesteps", f"avg, t = {share} T", replace(_BEST, timesteps=f"share:{share}")) for share in _SIX),
    *(_one("timesteps", f"avg, t = {shares}", replace(_BEST, timesteps=f"share:{shares}")) for shares in ("0.02,0.06", "0.02,0.06,0.2")),
    Recipe("timesteps", "two kernels, .06 and .2", _at(("0.06", "0.2"))),
    Recipe("timesteps", "six kernels", _at(_SIX)),
    Recipe("timesteps", "six kernels, probe(1)", _at(_SIX, _PROBE)),
    _one("timesteps", "avg over the six", replace(_BEST, timesteps=f"share:{','.join(_SIX)}")),
    _one("timesteps", "avg, ten even timesteps", _TEN),
    _one("parameters", "last up block", _LAST),
    _one("parameters", "last up block, probe(1)", replace(_PROBE, parameters=_LAST.parameters)),
    _one("parameters", "last up block, int8", _int8(_LAST)),
    _one("parameters", "last up block, k = 4096", replace(_LAST, proj_dim=4096)),
    _one("parameters", "last up block, .02 and .06", replace(_LAST, timesteps="share:0.02,0.06")),
    _one("parameters", "last up block, .02, .06 and .2", replace(_LAST, timesteps="share:0.02,0.06,0.2")),
    _one("parameters", "last up block, the six", replace(_LAST, timesteps=f"share:{','.join(_SIX)}")),
    _one("parameters", "all up blocks", replace(_BEST, parameters=r"up_blocks\.")),
    *(_one("layers", f"last block, t = {share} T", _layer("auto", share)) for share in ("0.2", "0.4", "0.6")),
    _one("layers", "up block 0, t = 0.4 T", _layer("up_blocks.0")),
    _one("layers", "mid block, t = 0.4 T", _layer("mid_block")),
    Recipe("mix", "mix, 1/4 of best", _with_layer(_BEST, 0.25)),
    Recipe("mix", "mix, 1/2 of best", _with_layer(_BEST, 0.5)),
    Recipe("mix", "mix, 1 of best", _with_layer(_BEST, 1.0)),
    Recipe("mix", "mix, 2 of best", _with_layer(_BEST, 2.0)),
    Recipe("mix", "mix, int8, 1 of probe(1)", _with_layer(_int8(_PROBE), 1.0, _int8(_LAYER))),
    Recipe("mix", "mix, int8, 1 of best", _with_layer(_int8(_BEST), 1.0, _int8(_LAYER))),
    Recipe("mix", "mix, int8, 2 of best", _with_layer(_int8(_BEST), 2.0, _int8(_LAYER))),
    Recipe("mix", "mix at t = 0.2 T, 1 of best", _with_layer(_BEST, 1.0, _layer("auto", "0.2"))),
    *(Recipe("mix", f"mix, {weight:g} of last up block", _with_layer(_LAST, weight)) for weight in (0.5, 1.0, 2.0)),
    Recipe("mix", "mix, int8, 1 of last up block", _with_layer(_int8(_LAST), 1.0, _int8(_LAYER))),
    Recipe("mix", "mix, int8, 2 of last up block", _with_layer(_int8(_LAST), 2.0, _int8(_LAYER))),
    Recipe("mix", "mix, int8, 2 of last up block, .02 and .06", _with_layer(_int8(replace(_LAST, timesteps="share:0.02,0.06")), 2.0, _int8(_LAYER))),
    *(Recipe("mix", f"mix, {weight:g} of avg, .02 and .06", _with_layer(_EARLY, weight)) for weight in (1.0, 2.0, 4.0)),
    Recipe("mix", "mix, int8, 2 of avg, .02 and .06", _with_layer(_int8(_EARLY), 2.0, _int8(_LAYER))),
    Recipe("mix", "mix, 2 of last up block, k = 4096", _with_layer(replace(_LAST, proj_dim=4096), 2.0, replace(_LAYER, proj_dim=4096))),
    Recipe("mix", "mix, 2 of last up block, the six", _with_layer(replace(_LAST, timesteps=f"share:{','.join(_SIX)}"), 2.0)),
    Recipe("mix", "mix, 2 of avg over the six", _with_layer(replace(_BEST, timesteps=f"share:{','.join(_SIX)}"), 2.0)),
    Recipe("mix", "mix, 1 of last up block, the six", _with_layer(replace(_LAST, timesteps=f"share:{','.join(_SIX)}"), 1.0)),
    Recipe("mix", "mix, 1 of best and of last up block", (Term(_LAYER), Term(_BEST, weight=0.5), Term(_LAST, weight=0.5))),
    Recipe("mix", "mix of six kernels, 1 of them", (Term(_LAYER), *_at(_SIX))),
    Recipe("mix", "mid block + best", _with_layer(_BEST, 1.0, _layer("mid_block"))),
    _one("pixels", "pixel-rbf", _PIXELS, transform="square"),
    Recipe("pixels", "pixel-rbf + 1/2 best", (Term(_PIXELS), Term(_BEST, weight=0.5))),
    Recipe("pixels", "pixel-rbf + best", (Term(_PIXELS), Term(_BEST))),
    Recipe("pixels", "pixel-rbf + 2 of avg, .02 and .06", (Term(_PIXELS), Term(_EARLY, weight=2.0))),
    Recipe("pixels", "pixel-rbf + last up block", (Term(_PIXELS), Term(_LAST))),
    Recipe("pixels", "pixel-rbf + six kernels", (Term(_PIXELS), *_at(_SIX))),
    _one("controls", "best, untrained network", replace(_BEST, weights="untrained")),
    _one("controls", "probe(1), untrained network", replace(_PROBE, weights="untrained")),
    *(_one(ALONG, f"best, after {share:.0%} of training", replace(_BEST, trained=share)) for share in SHARES),
    *(Recipe(ALONG, f"mix, after {share:.0%} of training", _with_layer(replace(_EARLY, trained=share), 2.0, replace(_LAYER, trained=share))) for share in SHARES),
    _one("methods", "renorm-if of best", _BEST, way=Way("renorm-if")),
    _one("methods", "trak, ten timesteps, squared", replace(_TEN, output_function="simple")),
    _one("methods", "renorm-if, ten timesteps, squared", replace(_TEN, output_function="simple"), way=Way("renorm-if")),
    _one("methods", "d-trak, ten timesteps, squared", replace(_TEN, output_function="square")),
    _one("methods", "renorm-if of square, ten timesteps", replace(_TEN, output_function="square"), way=Way("renorm-if")),
    _one("methods", "das of best", replace(_BEST, timestep_weights="unit-gradient"), way=Way("das"), transform="square"),
    _one("methods", "das, ten timesteps", replace(_TEN, timestep_weights="unit-gradient"), way=Way("das"), transform="square"),
)
# fmt: on


def chosen_recipes(asked: Sequence[str]) -> tuple[Recipe, ...]:
    """Return the recipes of some groups or names, `best` among them.

    If none is asked for, all but those that train a model.

    Raises
    ------
    ConfigurationError
        If there is none of a name.
    """
    for name in asked:
        if not any(name in (each.group, each.name) for each in RECIPES):
            groups = ", ".join(dict.fromkeys(each.group for each in RECIPES))
            raise ConfigurationError(
                "is neither a group of recipes nor one of them",
                where=f"--recipes {name}",
                remedy=f"use some of these groups: {groups}",
            )
    wanted = {BASELINE, *asked}
    if not asked:
        return tuple(each for each in RECIPES if each.group != ALONG)
    return tuple(each for each in RECIPES if {each.group, each.name} & wanted)
