"""Residuals as features: how wrong the model is about an image at a few timesteps.

A row holds mean_D (output - target)^2 at each timestep, the mean over noise draws that all images
share. That takes forward passes alone. A model is less wrong about images it was trained on than
about others of the same kind, so that residuals tell, with some probability, which those are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from dtrak_stream.data.samples import SampleBatch
from dtrak_stream.features.gradient_features import identity_of, make_task
from dtrak_stream.features.gradient_featurizer import Featurizer
from dtrak_stream.features.maker import EngineName, NothingDifferentiated, in_fitting_batches
from dtrak_stream.features.names import RESIDUALS
from dtrak_stream.features.options import FeatureOptions, own_or
from dtrak_stream.gradients.residuals import mean_squared_errors
from dtrak_stream.gradients.timestep_batched import TimestepBatchedEngine
from dtrak_stream.model.denoiser import Denoiser
from dtrak_stream.projectors.table import make_projector
from dtrak_stream.support.arithmetic import repeating_if_it_can

RESIDUAL_TIMESTEPS = "share:0.06"
"""Where a model told best what it was trained on, of the shares .01 to .2 of all timesteps."""
RESIDUAL_DRAWS = 16


@dataclass
class ResidualFeaturizer(NothingDifferentiated, Featurizer):
    """Turns images into residuals, a column a timestep; a `FeatureMaker`.

    It sends images through the model as features of gradients do, and stops there: its engine
    differentiates nothing and only tells how much goes through the model in one pass.
    """

    def use_engine(
        self,
        name: EngineName,  # noqa: ARG002
        *,
        pairs_per_pass: int,
        served: frozenset[str],  # noqa: ARG002
        compiled: bool,  # noqa: ARG002
    ) -> None:
        """Let so many (sample, timestep, draw) triples through the model in one pass."""
        self.engine = self.engine.with_pairs_per_pass(pairs_per_pass)

    def features(self, samples: SampleBatch) -> Tensor:
        """Return the residuals of B samples: (B, timesteps) float32 on the CPU.

        Raises
        ------
        MemoryLimitError
            If the device has no room for one image at one timestep.
        """
        return in_fitting_batches(self, self._errors, samples)

    def _errors(self, samples: SampleBatch) -> Tensor:
        pairs = self.engine.pairs_per_pass
        samples = self._encoded(samples)
        return repeating_if_it_can(lambda: mean_squared_errors(self.task, samples, pairs))


def make_residual_featurizer(model: str | Denoiser, options: FeatureOptions) -> ResidualFeaturizer:
    """Load the model and say at which timesteps, under how many draws, residuals are taken.

    Raises
    ------
    InputError, ModelError
        If the model cannot be loaded, or is none; see `make_featurizer`.
    ConfigurationError
        If an option has no such value, or means nothing for such a model.
    """
    options = replace(
        options,
        output_function="simple",
        timesteps=options.timesteps or RESIDUAL_TIMESTEPS,
        noise_draws=own_or(options.noise_draws, RESIDUAL_DRAWS),
    )
    task = make_task(model, options)
    length = len(task.timesteps)
    kept = make_projector("identity", proj_dim=length, seed=0, num_parameters=length)
    identity = {
        **identity_of(task, kept, options),
        "output_function": RESIDUALS,
        "parameters": "none",
        "num_parameters": length,
    }
    engine = TimestepBatchedEngine(task)
    return ResidualFeaturizer(
        task, kept, task.denoiser.image_shape, task.denoiser.device, identity, engine
    )
