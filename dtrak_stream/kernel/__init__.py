"""The damped kernel (G + lambda I)^-1: choosing lambda, factoring, solving. All float64."""

from dtrak_stream.kernel.damping import (
    PATH,
    RULES,
    Damping,
    DampingChoice,
    DampingChoices,
    GramFacts,
    choose_damping,
    parse_dampings,
)
from dtrak_stream.kernel.lanczos import PROBES, EstimatedSpectrum
from dtrak_stream.kernel.matrix import BlockedMatrix, Matrix, MatrixInMemory, Moments, moments_of
from dtrak_stream.kernel.solvers import (
    CholeskyKernel,
    DampedKernel,
    Eigendecomposition,
    IterativeKernel,
)
from dtrak_stream.kernel.spectrum import (
    EXACT_SIZE,
    ROUNDING,
    ExactSpectrum,
    Spectrum,
    damping_for_freedom,
    exact_spectrum,
)

__all__ = [
    "EXACT_SIZE",
    "PATH",
    "PROBES",
    "ROUNDING",
    "RULES",
    "BlockedMatrix",
    "CholeskyKernel",
    "DampedKernel",
    "Damping",
    "DampingChoice",
    "DampingChoices",
    "Eigendecomposition",
    "EstimatedSpectrum",
    "ExactSpectrum",
    "GramFacts",
    "IterativeKernel",
    "Matrix",
    "MatrixInMemory",
    "Moments",
    "Spectrum",
    "choose_damping",
    "damping_for_freedom",
    "exact_spectrum",
    "moments_of",
    "parse_dampings",
]
