"""What a module of the network says on its way to an answer, averaged over timesteps and draws."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from dtrak_stream.data.samples import SampleBatch
from dtrak_stream.errors import ConfigurationError, first_few
from dtrak_stream.features.gradient_features import make_task
from dtrak_stream.features.names import AUTO_LAYER, layer_inside
from dtrak_stream.features.options import FeatureOptions
from dtrak_stream.gradients.pass_memory import bytes_of_a_pair, pairs_that_fit
from dtrak_stream.gradients.task import GradientTask
from dtrak_stream.model.denoiser import Denoiser

_LISTS_OF_BLOCKS = ("up_blocks", "transformer_blocks")
_DEEPEST_NAMED = 1  # dots in the names that a refusal lists
_MOST_NAMED = 40
# bytes that a pass with gradients would keep: as little memory is faster here, and none is kept
_KEPT = {"cpu": 256 * 2**20, "cuda": 4 * 2**30}
_MOST_PAIRS = {"cpu": 512, "cuda": 4096}


@dataclass
class Activations:
    """The output of one module for noised samples.

    Attributes
    ----------
    task
        Model, timesteps, noise and precision. What it differentiates means nothing here.
    layer
        Name of the module.
    length
        How many numbers it says of a sample.
    pairs_per_pass
        (sample, timestep, draw) triples in one forward pass.
    """

    task: GradientTask
    layer: str
    length: int
    pairs_per_pass: int

    @property
    def name(self) -> str:
        """Return the name it has as an output function."""
        return f"activation({self.layer})"

    @property
    def samples_at_a_time(self) -> int:
        """Return how many samples fill a pass."""
        return max(1, self.pairs_per_pass // len(self.task.pairs))

    @torch.no_grad()
    def of(self, samples: SampleBatch) -> Tensor:
        """Return the mean over all (timestep, draw) pairs of what the module says.

        Parameters
        ----------
        samples
            B of them, as the network takes them.

        Returns
        -------
        Tensor
            (B, length) float32 on the model's device, in the module's own order.
        """
        total = torch.zeros(len(samples), self.length, device=self.task.denoiser.device)
        with self.task.arithmetic():
            for pairs in self.task.passes(max(1, self.pairs_per_pass // len(samples))):
                said = said_by(self.task, self.layer, samples, pairs)  # (B * pairs, length)
                total += said.reshape(len(samples), len(pairs), -1).sum(dim=1)
        return total / len(self.task.pairs)


def open_activations(model: str | Denoiser, options: FeatureOptions) -> Activations:
    """Load the model and find the layer; raises as `make_task`.

    Raises
    ------
    ConfigurationError
        If there is no such module, or it does not say one tensor with a row for each sample.
    """
    plain = replace(options, output_function="avg", parameters="all", timestep_weights="none")
    task = make_task(model, plain)
    layer = find_layer(task.denoiser.network, layer_inside(options.output_function) or AUTO_LAYER)
    made_up = task.denoiser.made_up(2)
    with torch.no_grad(), task.arithmetic():
        said = said_by(task, layer, made_up, task.pairs[:1])
    return Activations(task, layer, said.shape[1], _pairs_per_pass(task))


def find_layer(network: nn.Module, name: str) -> str:
    """Return the name of a module; of `auto`, that of the last up block or transformer block.

    Raises
    ------
    ConfigurationError
        If there is no such module: with the names there are.
    """
    modules = [each for each, _ in network.named_modules() if each]
    if name in modules:
        return name
    if name == AUTO_LAYER:
        for blocks in _LISTS_OF_BLOCKS:
            found: list[str] = [each for each in modules if each.rpartition(".")[0] == blocks]
            if found:
                return found[-1]
    named = [each for each in modules if each.count(".") <= _DEEPEST_NAMED]
    problem = "has neither up blocks nor transformer blocks" if name == AUTO_LAYER else "has none"
    raise ConfigurationError(
        f"names a module of the network, which {problem}",
        where=f"--output-function activation({name})",
        remedy=f"use one of its modules: {first_few(named, shown=_MOST_NAMED)}",
    )


def said_by(
    task: GradientTask, layer: str, samples: SampleBatch, pairs: tuple[tuple[int, int], ...]
) -> Tensor:
    """Return what a module says of samples at some pairs: (B * pairs, length) float32.

    Raises
    ------
    ConfigurationError
        If it is not run exactly once, or does not say one tensor with a row for each.
    """
    batch = task.noised(samples, pairs)
    with _listening(task.denoiser.network.get_submodule(layer)) as said:
        task.output(batch)
    if len(said) != 1:
        raise _refusal(layer, f"runs {len(said)} times in a pass of the network")
    tensor = said[0][0] if isinstance(said[0], tuple) else said[0]
    if not isinstance(tensor, Tensor) or tensor.ndim < 2 or len(tensor) != len(batch.noisy):
        raise _refusal(layer, "does not say one tensor with a row for each image")
    return tensor.float().flatten(1)


@contextmanager
def _listening(module: nn.Module) -> Iterator[list[object]]:
    said: list[object] = []
    hook = module.register_forward_hook(lambda _module, _inputs, output: said.append(output))
    try:
        yield said
    finally:
        hook.remove()


def _refusal(layer: str, problem: str) -> ConfigurationError:
    return ConfigurationError(
        f"that module {problem}",
        where=f"--output-function activation({layer})",
        remedy="name another one, such as a block of the network",
    )


def _pairs_per_pass(task: GradientTask) -> int:
    kind, kept = task.denoiser.device.type, max(1, bytes_of_a_pair(task) or 1)
    most = _MOST_PAIRS.get(kind, _MOST_PAIRS["cuda"])
    wanted = min(_KEPT.get(kind, _KEPT["cuda"]) // kept, most)
    return max(1, min(wanted, pairs_that_fit(task)))
