"""What the LDS benchmark is about: model, training images, queries, the truth, and its rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict

from dtrak_stream.benchmark.lds.options import JudgingConfig
from dtrak_stream.data.condition_options import ConditionOptions
from dtrak_stream.data.images import open_images
from dtrak_stream.data.options import ImageOptions
from dtrak_stream.generation.configuration import GenerationConfig
from dtrak_stream.generation.run import generate
from dtrak_stream.model.places import EMBEDDED_FOLDER, EMBEDDED_MODEL

QUERY_SETS = ("val", "gen")
GENERATED = 200
_TRUTH_OF_DIGITS, _GENERATED_DIGITS = "digits_truth.npz", "digits_generated"
_VALIDATION_DIGITS = "sklearn:digits[1000:1200]"
Numbers = dict[str, float]


@dataclass(frozen=True)
class Subject:
    """What one part of the benchmark is about.

    Attributes
    ----------
    name
        Of the data set.
    model
        The full model.
    train
        Its training images, as an image source.
    validation, generated
        Queries: images of the same kind it was not trained on, and its own images.
    truth
        Losses of `val` (validation) and `gen` (generated) under models retrained on halves.
    path
        Where the images are generated once more, with their sampling paths.
    lora
        A LoRA on the model, whose factors alone are differentiated.
    image_options, conditions
        How all images are read, and what the model is told of them.
    side
        Side in pixels of what image features are taken of; None for that of the images.
    """

    name: str
    model: str
    train: str
    validation: str
    generated: str
    truth: Path
    path: Path
    lora: str | None = None
    image_options: ImageOptions = ImageOptions()  # noqa: RUF009
    conditions: ConditionOptions = ConditionOptions()  # noqa: RUF009
    side: int | None = None

    def queries(self, name: str) -> str:
        """Return the image source of a set of queries, `val` or `gen`."""
        return self.validation if name == "val" else self.generated


def digits(config: JudgingConfig) -> Subject:
    """Return the digits: model, generated images and truth come along."""
    return Subject(
        "digits",
        EMBEDDED_MODEL,
        "sklearn:digits[:1000]",
        _VALIDATION_DIGITS,
        str(EMBEDDED_FOLDER / _GENERATED_DIGITS),
        EMBEDDED_FOLDER / _TRUTH_OF_DIGITS,
        work_folder(config, "digits") / "generated",
    )


def write_paths(subject: Subject, device: str) -> Path | None:
    """Generate the images once more with their sampling paths.

    Returns
    -------
    Path or None
        Where both are; None if another processor generated the queries, and some pixels differ:
        then the paths are not those of the images whose losses the truth holds.
    """
    config = GenerationConfig(
        subject.path, subject.model, GENERATED, device=device, save_trajectory=True
    )
    again = generate(config, visible=False).path
    found, known = (open_images(str(each), visible=False) for each in (again, subject.generated))
    return again if found.identity() == known.identity() else None


def work_folder(config: JudgingConfig, name: str) -> Path:
    """Return where models, truth and finished rows of a data set are kept."""
    return config.out.with_name(config.out.name + ".work") / name


"""An LDS, as `estimate_numbers` gives it; with some damping of one kernel also `damping_relative`,
lambda / mean eigenvalue, and `effective_dimension`, its effective degrees of freedom."""


class Judged(TypedDict):
    """What came out: with damping, `rules` (by name) and `oracle`; without, `plain`.

    The oracle's damping is the best on the very truth that judges it: an upper bound.
    """

    rules: NotRequired[dict[str, Numbers]]
    oracle: NotRequired[Numbers]
    plain: NotRequired[Numbers]


class Row(Judged):
    """What was judged, and what came out. `timesteps` is 0 for image features."""

    data: str
    queries: str
    method: str
    output_function: str
    timesteps: int
    noise: str
    proj_dim: int
    transform: str
