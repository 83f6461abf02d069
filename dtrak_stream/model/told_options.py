"""What the folder of a model may not say of its training, as the options of a command."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from dtrak_stream.model.options import (
    LoadingOptions,
    LoraOptions,
    TimeIdsName,
    require_guidance,
)
from dtrak_stream.support.option_values import require_number


@dataclass(frozen=True)
class ToldOptions:
    """What a model is told besides images and captions; None is what its folder says."""

    size: int | None = None
    """Side in pixels of the square images that the model was trained on, where its folder does \
not say it or says another one."""
    guidance: float | None = None
    """What a network that was distilled with guidance is told of it (default: 3.5, of Flux.1 \
dev)."""
    t5_tokens: int | None = None
    """Tokens of a caption that T5 reads (default: that of the model's pipeline)."""
    time_ids: TimeIdsName | None = None
    """What Stable Diffusion XL is told of sizes: each image's own before it was resized and where \
it was cut (image, the usual, as for features), or always the model's (model)."""
    base: str | None = None
    """The pipeline that a network given alone was trained from, a folder or hf:OWNER/NAME: its \
first stage and text encoders are taken, and its scheduler where the network has none."""

    def __post_init__(self) -> None:
        require_number("--size", self.size, 1, 2**16)
        require_number("--t5-tokens", self.t5_tokens, 1, 4096)
        require_guidance(self.guidance)

    @property
    def given(self) -> list[str]:
        """Return the flags of those that are given."""
        names = [each.name for each in fields(self) if getattr(self, each.name) is not None]
        return ["--" + name.replace("_", "-") for name in names]

    def over(self, others: ToldOptions) -> ToldOptions:
        """Return these where they are given, and others where they are not."""
        told = {each.name: getattr(self, each.name) for each in fields(self)}
        return replace(others, **{name: value for name, value in told.items() if value is not None})

    def loading(self, *loras: LoraOptions) -> LoadingOptions:
        """Return how the model is read, with these LoRAs."""
        return LoadingOptions(
            size=self.size,
            loras=loras,
            guidance=self.guidance,
            t5_tokens=self.t5_tokens,
            time_ids=self.time_ids or LoadingOptions.time_ids,
            base=self.base,
        )
