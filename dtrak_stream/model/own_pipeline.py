"""The pipeline of diffusers that makes images with a model, built of what was loaded and checked.

Nothing is read again but the options of the scheduler: network, autoencoder, text encoders and
tokenizers are those of the denoiser, with the LoRAs that are on them. What only looks at finished
images, such as a safety checker or a watermark, is left out.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

from torch import nn

from dtrak_stream.errors import ConfigurationError
from dtrak_stream.model.captions import Captions, TextEncoder
from dtrak_stream.model.conditioning import Conditioner
from dtrak_stream.model.flow_schedule import FLOW_MATCHING
from dtrak_stream.model.saved_schedule import FILE_NAME, saved_scheduler
from dtrak_stream.support.option_values import require_number
from dtrak_stream.support.transformers_package import silenced

_TOKENS = "max_sequence_length"
# their noise is drawn for a whole batch, or they go from an image to the noise
_OF_NO_SEED = ("DPMSolverSDEScheduler",)
_INVERSE = ("DDIMInverseScheduler", "DPMSolverMultistepInverseScheduler")


class LoadedTexts(TextEncoder, Protocol):
    """A text encoder that was loaded with the tokenizers of a pipeline."""

    @property
    def tokenizers(self) -> Mapping[str, Any]:
        """Return its tokenizers, as pipelines call them: `tokenizer`, `tokenizer_2`."""


@dataclass(frozen=True)
class PipelineRow:
    """How the pipeline of a family is called.

    Attributes
    ----------
    class_name
        Its class in diffusers.
    steps
        How many steps it takes where it is not told.
    guidance
        Its usual strength of guidance; None for a network that was distilled without it.
    told
        What else it is told at every call.
    options
        What else it is made with.
    lacks
        What the network is told in training and the pipeline does not tell it; nothing as a rule.
    tokens, most_tokens
        How many of a caption T5 reads, and how many its pipeline takes; None without T5.
    """

    class_name: str
    steps: int
    guidance: float | None
    told: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    lacks: str = ""
    tokens: int | None = None
    most_tokens: int | None = None

    @property
    def call(self) -> Mapping[str, Any]:
        """Return what it is told at every call, whatever the image."""
        return self.told if self.tokens is None else {**self.told, _TOKENS: self.tokens}


@dataclass(frozen=True)
class OwnPipeline:
    """A pipeline that can be built.

    Attributes
    ----------
    row
        How it is called.
    parts
        All of its parts but the scheduler, by name.
    scheduler_folder
        Where the options of the scheduler lie.
    """

    row: PipelineRow
    parts: Mapping[str, Any]
    scheduler_folder: Path

    def scheduler(self) -> Any:
        """Return the scheduler that was saved with the model, which leads from noise to images.

        Raises
        ------
        ConfigurationError
            If it does not lead there, or draws noise that no seed of an image decides.
        """
        scheduler = saved_scheduler(self.scheduler_folder)
        name = type(scheduler).__name__
        if name in _INVERSE:
            problem = f"{name} leads from images to noise"
        elif name in _OF_NO_SEED or scheduler.config.get("stochastic_sampling"):
            problem = f"{name} draws noise that the seed of an image does not decide"
        else:
            return scheduler
        raise ConfigurationError(
            problem,
            where=self.scheduler_folder / FILE_NAME,
            remedy="set stochastic_sampling to false there"
            if name == FLOW_MATCHING
            else "give --sampler ddim",
        )

    def build(self, scheduler: Any) -> Any:
        """Return the pipeline, with this scheduler.

        Raises
        ------
        ConfigurationError
            If T5 is to read more tokens than it takes, or it does not tell the network all that
            this was told in training.
        """
        import diffusers  # takes longer than all else together

        if self.row.lacks:
            raise ConfigurationError(
                f"is told {self.row.lacks}, which a {self.row.class_name} of diffusers tells only "
                "networks of another size",
                where=self.scheduler_folder.parent,
                remedy="make its images elsewhere; they can be attributed all the same",
            )
        require_number("--t5-tokens", self.row.tokens, 1, self.row.most_tokens)
        with pipelines_silenced(), warnings.catch_warnings():
            # that it brings an old scheduler up to date
            warnings.simplefilter("ignore", FutureWarning)
            made = getattr(diffusers, self.row.class_name)(
                **self.parts, scheduler=scheduler, **self.row.options
            )
        made.set_progress_bar_config(disable=True)
        return made


@contextmanager
def pipelines_silenced() -> Iterator[None]:
    """Keep progress bars and advice of diffusers and transformers off the screen."""
    import diffusers
    import transformers

    with silenced(diffusers), silenced(transformers):
        yield


def own_pipeline(
    row: PipelineRow,
    network_name: str,
    network: nn.Module,
    autoencoder: nn.Module,
    texts: LoadedTexts,
    scheduler_folder: Path,
) -> OwnPipeline:
    """Return the pipeline of a network, its autoencoder and what reads its captions."""
    parts = {network_name: network, "vae": autoencoder, **texts.networks, **texts.tokenizers}
    return OwnPipeline(row, parts, scheduler_folder)


def texts_of(captions: Conditioner | None) -> LoadedTexts:
    """Return what reads the captions of a text-to-image model that was loaded from a folder."""
    return cast(LoadedTexts, cast(Captions, captions).encoder)
