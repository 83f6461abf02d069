"""The parts of a model, and what their folders say of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dtrak_stream.errors import ModelError
from dtrak_stream.model.config_files import read_config, saved_class

INDEX_FILE, NETWORK_FILE = "model_index.json", "config.json"
EMA = "_ema"
"""What stands behind the name of the folder of a network with averaged weights."""
# what diffusers' EMAModel adds to the configuration of the network it saves
AVERAGING_OPTIONS = frozenset(
    {
        *("decay", "min_decay", "optimization_step", "update_after_step", "use_ema_warmup"),
        *("inv_gamma", "power"),
    }
)


@dataclass(frozen=True)
class ModelPart:
    """A part of a pipeline besides its network and scheduler.

    Attributes
    ----------
    folder
        Where it lies.
    class_name
        Its class, as the index names it.
    """

    folder: Path
    class_name: str


@dataclass(frozen=True)
class ModelFolder:
    """Where the parts of a model lie.

    Attributes
    ----------
    network
        Folder of the network's configuration and weights.
    class_name
        The network's class: as the index names it, or its own configuration.
    named_by
        The file that names it.
    scheduler
        Folder of the scheduler's configuration.
    further
        The other parts of the pipeline, by name: what comes before the network.
    weights_file
        The one file of the network's weights, where it does not lie with the configuration.
    """

    network: Path
    class_name: str | None
    named_by: Path
    scheduler: Path
    further: Mapping[str, ModelPart] = field(default_factory=dict)
    weights_file: Path | None = None

    @property
    def network_name(self) -> str:
        """Return what pipelines call the network: `unet` or `transformer`."""
        return network_name(self.class_name or "")

    def refuse_parts_but(self, understood: frozenset[str]) -> None:
        """Refuse a pipeline in which something else comes before or after the network.

        Raises
        ------
        ModelError
            Naming the first part that is not among those understood.
        """
        for name, part in self.further.items():
            if name not in understood:
                raise ModelError(
                    f"has a {name} ({part.class_name}), which nothing is known of here",
                    where=self.named_by,
                    remedy="give a pipeline of the parts that diffusers saves for such a network",
                )

    @property
    def pipeline_class(self) -> str | None:
        """Return the class of the pipeline that its other parts are of, if there are any."""
        return saved_class(self.index)

    @property
    def index(self) -> dict[str, Any]:
        """Return the index of the pipeline that the other parts are of; empty if there are none."""
        for part in self.further.values():
            return read_config(part.folder.parent / INDEX_FILE, what="index of parts")
        return {}

    @property
    def kind_of_weights(self) -> str:
        """Return whether the weights are averaged ones, as far as the folder tells."""
        if self.weights_file is not None:
            return f"raw weights of {self.weights_file}"
        path = self.network / NETWORK_FILE
        options = read_config(path, what="configuration of a network") if path.is_file() else {}
        if self.network.name.endswith(EMA) or AVERAGING_OPTIONS & options.keys():
            return f"EMA weights of {self.network.name}/"
        averaged = self.network.with_name(self.network.name + EMA)
        if averaged.is_dir():
            return f"raw weights of {self.network.name}/ (for the averaged ones name {averaged})"
        return f"weights as saved in {self.network.name}/"


def network_name(class_name: str) -> str:
    """Return what pipelines call a network of a class: `unet` or `transformer`."""
    return "unet" if "UNet" in class_name else "transformer"
