"""Every option of the benchmark of model dependence."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import tyro

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.evaluation.retraining.configuration import WorkerOptions
from dtrak_stream.methods import methods_of_images_and_model
from dtrak_stream.model.places import EMBEDDED_MODEL
from dtrak_stream.support.option_values import require_number, require_seed

_VALIDATION_DIGITS = "sklearn:digits[1000:1200]"


@dataclass(frozen=True)
class ModelDependenceConfig:
    """Ask of each method whether its scores know what the model was trained on.

    The pool is what a model was trained on. Two models are trained by its recipe on the two halves
    of the pool, a third one on all of it with some images repeated. (a) Of the proponents of an
    image that one of the halves' models generated, which share did that model see? (b) Do images
    shown 10 and 50 times stand out among equally near ones shown once? (c) Does an image that was
    left out come out above its nearest neighbour that was not? For the digits model that comes
    along the three take some 6,000 steps of training. What is done is not done again: an
    interrupted run goes on when the same command is given again.
    """

    out: Path = Path("runs/bench/model_dependence")
    """Results: OUT.json and OUT.md. Models, generated images and scores are kept in OUT.work."""
    model: str = EMBEDDED_MODEL
    """Folder of the full model, from dtrak-stream train (or the small model that comes along)."""
    images: str | None = None
    """Where its training images, the pool, are now, if not where the model's folder says."""
    validation: str | None = None
    """Images of the same kind that it was not trained on, near which repeated ones are looked for
    (default: 200 other digits, for the model that comes along)."""
    methods: tuple[str, ...] = ()
    """Methods to ask (default: all that need neither retrained models nor other weights)."""
    generated: int = 100
    """Images that each of these models generates."""
    repeated: int = 16
    """Images shown 10 times, and as many others shown 50 times; 0 leaves out (b) and its model."""
    subset_seed: int = 0
    """Seed of the halves, and of the choice of repeated images."""
    seed: int = 0
    """Seed of training, of all of them."""
    where: tyro.conf.OmitArgPrefixes[WorkerOptions] = field(default_factory=WorkerOptions)
    """Where features are computed. Models are trained by this process."""
    quiet: bool = False
    """Draw no progress bars; what was found and decided is said all the same, a line each."""

    def __post_init__(self) -> None:
        require_number("--generated", self.generated, 2, 2**16)
        require_number("--repeated", self.repeated, 0, 2**16)
        require_seed(self.subset_seed, "--subset-seed")
        require_seed(self.seed)
        for name in self.methods:
            if name not in methods_asked():
                raise ConfigurationError(
                    "is no method, or not one that is asked here",
                    where=f"--methods {name}",
                    remedy=f"name some of {', '.join(methods_asked())}",
                )
        if self.repeated and self.validation is None and self.model != EMBEDDED_MODEL:
            raise ConfigurationError(
                f"which images {self.model} was not trained on is not known",
                where="--validation",
                remedy="give some of the same kind, or --repeated 0",
            )

    @property
    def work(self) -> Path:
        """Return where models, images and scores are kept."""
        return self.out.with_name(self.out.name + ".work")

    @property
    def validation_images(self) -> str:
        """Return the source of images that the model was not trained on."""
        return self.validation or _VALIDATION_DIGITS

    @property
    def method_names(self) -> tuple[str, ...]:
        """Return the methods to ask, each once."""
        return tuple(dict.fromkeys(self.methods or methods_asked()))


def methods_asked() -> tuple[str, ...]:
    """Return the methods that need no retraining, sampling paths or weights of another network.

    Of several that give the same scores of a single model, such as the mean over checkpoints of a
    cosine and the cosine itself, it is the first one.
    """
    found: dict[tuple[object, ...], str] = {}
    for method in methods_of_images_and_model():
        decisive = (method.needs, method.streams, method.uses_kernel, method.normalisation)
        found.setdefault(decisive, method.name)
    return tuple(found.values())
