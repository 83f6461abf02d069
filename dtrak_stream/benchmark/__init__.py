"""Measurements of this package on this machine: one module or folder for each subcommand."""

from dtrak_stream.benchmark.featurizing import FeaturizeBenchConfig, measure_featurize
from dtrak_stream.benchmark.lds import LdsBenchConfig, measure_lds
from dtrak_stream.benchmark.main_job import MainJobConfig, measure_main_job
from dtrak_stream.benchmark.projectors import ProjectorsConfig, measure_projectors
from dtrak_stream.benchmark.results import BenchmarkResult

__all__ = [
    "BenchmarkResult",
    "FeaturizeBenchConfig",
    "LdsBenchConfig",
    "MainJobConfig",
    "ProjectorsConfig",
    "measure_featurize",
    "measure_lds",
    "measure_main_job",
    "measure_projectors",
]
