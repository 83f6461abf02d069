"""What a network is told besides a noised sample and its timestep, made from class labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import torch
from torch import Tensor, nn

from dtrak_stream.data.samples import Condition, ConditionKind, ImageOrigin
from dtrak_stream.errors import ConfigurationError

NetworkInputs: TypeAlias = Mapping[str, Tensor]
"""Name to (B, ...): what a network is asked with besides x_t and t."""

CLASS_LABELS = "class_labels"
PROMPTS = "encoder_hidden_states"  # (B, tokens, width)
POOLED = "pooled_projections"  # (B, width)
GUIDANCE = "guidance"  # (B,)
PROMPT_MASK = "encoder_attention_mask"  # (B, tokens) int64, 0 where it is padded
POOLED_TEXT = "text_embeds"  # (B, width)
TIME_IDS = "time_ids"  # (B, 6): sizes and crop, in pixels
RESOLUTION = "resolution"  # (B, 2): height and width, in pixels
ASPECT_RATIO = "aspect_ratio"  # (B, 1)


class Conditioner(Protocol):
    """Makes what a network is asked with from what samples are of."""

    @property
    def kind(self) -> ConditionKind:
        """Return what it wants to know of a sample."""

    @property
    def identity(self) -> str:
        """Return what it is, for fingerprints: equal strings mean the same inputs."""

    @property
    def description(self) -> str:
        """Return what it is, in a few words for the user."""

    @property
    def weight_bytes(self) -> int:
        """Return how many bytes of memory its weights take."""

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Return the networks that read conditions, as pipelines call them: `text_encoder`."""

    def check(self, conditions: Sequence[Condition]) -> None:
        """Raise `ConfigurationError` if a condition is none that the model knows."""

    def inputs(
        self,
        conditions: Sequence[Condition],
        device: torch.device,
        origins: Sequence[ImageOrigin] | None = None,
    ) -> NetworkInputs:
        """Return what the network is asked with for B samples, each tensor (B, ...).

        Parameters
        ----------
        conditions
            What the samples are of.
        device
            Where the tensors are to be.
        origins
            What the images were before they were resized; None if they always had this size.

        Raises
        ------
        ConfigurationError
            If a condition is none that the model knows.
        """

    def made_up(self, count: int) -> tuple[Condition, ...]:
        """Return conditions of samples that are made up, to try the network with."""

    def remarks(self) -> list[str]:
        """Return what is to be said of the conditions met so far, in a sentence each."""


@dataclass(frozen=True)
class ClassLabels:
    """Class labels as they are: `class_labels` (B,) int64.

    Attributes
    ----------
    num_classes
        The model was trained with the labels 0 to `num_classes` - 1.
    """

    num_classes: int
    kind: ConditionKind = "class label"

    @property
    def identity(self) -> str:
        """Return the number of classes."""
        return f"{self.num_classes} classes"

    @property
    def description(self) -> str:
        """Return the number of classes."""
        return f"a label of {self.num_classes} classes"

    @property
    def weight_bytes(self) -> int:
        """Return 0: it has none."""
        return 0

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Return none."""
        return {}

    def check(self, conditions: Sequence[Condition]) -> None:
        """Raise `ConfigurationError` for what is no label of this model."""
        for label in conditions:
            if not isinstance(label, int) or not 0 <= label < self.num_classes:
                raise ConfigurationError(
                    f"{label!r} is not one of the model's classes, 0 to {self.num_classes - 1}",
                    where="class label",
                    remedy="give the labels that the model was trained with (--label-column)",
                )

    def inputs(
        self,
        conditions: Sequence[Condition],
        device: torch.device,
        origins: Sequence[ImageOrigin] | None = None,  # noqa: ARG002 (no class has a size)
    ) -> NetworkInputs:
        """Return {"class_labels": (B,) int64}."""
        self.check(conditions)
        return {CLASS_LABELS: torch.tensor([int(label) for label in conditions], device=device)}

    def made_up(self, count: int) -> tuple[Condition, ...]:
        """Return the first labels."""
        return tuple(number % self.num_classes for number in range(count))

    def remarks(self) -> list[str]:
        """Return nothing."""
        return []
