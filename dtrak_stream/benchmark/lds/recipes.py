"""What is judged: sets of features, and the ways to score with each."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dtrak_stream.benchmark.lds.options import LdsBenchConfig
from dtrak_stream.features.names import fourier_inside
from dtrak_stream.features.options import FeatureOptions
from dtrak_stream.kernel.damping import PATH, RULES
from dtrak_stream.methods import METHODS, Stream
from dtrak_stream.objective.noise_keying import NoiseKeying

ALL: tuple[str, ...] = ("none", "signed-square", "square")
_PLAIN: tuple[str, ...] = ("none",)
_STEP_OF_JOURNEY = "list:400"
_DRAWS_OF_JOURNEY = 20


@dataclass(frozen=True)
class Scoring:
    """One way to score with a set of features.

    Attributes
    ----------
    method
        Its name.
    transforms
        Each is judged by itself.
    along
        What the features of queries are of, where they are made along sampling paths: then the
        generated images alone are judged.
    """

    method: str
    transforms: tuple[str, ...] = ALL
    along: str | None = None

    @property
    def damping(self) -> str:
        """Return every damping that is judged; of no meaning for a method without a kernel."""
        return ",".join([*RULES, *(f"{value:g}" for value in PATH)])


@dataclass(frozen=True)
class FeatureSet:
    """Features that are computed once and scored in several ways.

    Attributes
    ----------
    output_function, timesteps, noise
        f, K and how noise is drawn; K is 0 for image features.
    proj_dim
        k.
    scorings
        How they are scored.
    unit_gradients
        Whether the gradient of each timestep is brought to unit length (das).
    grid
        Which timesteps, where they are not K evenly spaced ones.
    sum_of
        The features of each stream, where the method that is judged is a sum of several.
    """

    output_function: str
    timesteps: int
    noise: NoiseKeying
    proj_dim: int
    scorings: tuple[Scoring, ...]
    unit_gradients: bool = False
    grid: str | None = None
    sum_of: tuple[FeatureSet, ...] = ()

    @property
    def streams(self) -> tuple[FeatureSet, ...]:
        """Return the features of each stream: of one, for most."""
        return self.sum_of or (self,)

    @property
    def name(self) -> str:
        """Return a name that no other set of the benchmark has."""
        words = [self.output_function, str(self.timesteps), self.noise, str(self.proj_dim)]
        return "-".join(
            [*words, *(["unit"] if self.unit_gradients else []), *(["grid"] if self.grid else [])]
        )

    def options(self, device: str, along: str | None = None) -> FeatureOptions:
        """Return how they are computed; with `along`, of queries along their sampling paths."""
        if self.timesteps == 0:
            width = self.proj_dim if fourier_inside(self.output_function) else None
            return FeatureOptions(self.output_function, proj_dim=width, device=device)
        one_step = (along or "").endswith("(one-step)")
        return FeatureOptions(
            along or self.output_function,
            timesteps=_STEP_OF_JOURNEY if one_step else self.grid or str(self.timesteps),
            noise=self.noise,
            noise_draws=_DRAWS_OF_JOURNEY if one_step else 1,
            timestep_weights="unit-gradient" if self.unit_gradients else "none",
            proj_dim=self.proj_dim,
            device=device,
        )


def feature_sets(config: LdsBenchConfig) -> list[FeatureSet]:
    """Return what is computed, quick things first; features that serve two ends are one set."""
    wanted = [
        _of_method("best", config.proj_dim),
        *(_baselines(config) if config.baselines else []),
    ]
    wanted += [
        FeatureSet(function, count, noise, config.proj_dim, (Scoring(_method_of(function)),))
        for count in sorted(config.timesteps)
        for function in config.output_functions
        for noise in config.noise
    ]
    sets: dict[str, FeatureSet] = {}
    for each in wanted:
        before = sets[each.name].scorings if each.name in sets else ()
        sets[each.name] = replace(each, scorings=before + each.scorings)
    return list(sets.values())


def _of_method(name: str, proj_dim: int) -> FeatureSet:
    """Return the features that a method chooses itself, of at most so many numbers."""
    parts = tuple(_of_stream(stream, proj_dim) for stream in METHODS[name].streams)
    scorings = (Scoring(name, _PLAIN),)
    if len(parts) == 1:
        return replace(parts[0], scorings=scorings)
    functions = " + ".join(part.output_function for part in parts)
    count, k = sum(part.timesteps for part in parts), max(part.proj_dim for part in parts)
    return FeatureSet(functions, count, "shared", k, scorings, sum_of=parts)


def _of_stream(stream: Stream, proj_dim: int) -> FeatureSet:
    count, k = len(stream.timesteps.split(",")), min(stream.proj_dim, proj_dim)
    return FeatureSet(stream.output_function, count, "shared", k, (), grid=stream.timesteps)


def _baselines(config: LdsBenchConfig) -> list[FeatureSet]:
    first, k = config.timesteps[0], config.proj_dim
    width = min(METHODS["pixel-rbf"].streams[0].proj_dim, k)
    journeys = [METHODS[name] for name in ("journey-trak", "journey-trak-averaged")]
    of_losses = (
        Scoring("gradient-dot"),
        Scoring("gradient-cosine"),
        Scoring("relative-if"),
        Scoring("renorm-if"),
        *(Scoring(method.name, ALL, method.query_output_function) for method in journeys),
    )
    return [
        FeatureSet("pixels", 0, "shared", k, (Scoring("pixel-dot"), Scoring("pixel-cosine"))),
        FeatureSet("rff(pixels)", 0, "shared", width, (Scoring("pixel-rbf", _PLAIN),)),
        _of_method("activation-rbf", k),
        _of_method("mix", k),
        FeatureSet("simple", first, "shared", k, of_losses),
        FeatureSet("avg", first, "shared", k, (Scoring("das", _PLAIN),), unit_gradients=True),
    ]


def _method_of(output_function: str) -> str:
    return "trak" if METHODS["trak"].streams[0].takes(output_function) else "d-trak"
