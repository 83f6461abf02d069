"""Measure this package on this machine; each subcommand writes OUT.json and OUT.md."""

from dtrak_stream.benchmark import (
    FeaturizeBenchConfig,
    LdsBenchConfig,
    MainJobConfig,
    ProjectorsConfig,
    measure_featurize,
    measure_lds,
    measure_main_job,
    measure_projectors,
)
from dtrak_stream.cli.subcommands import run_subcommand

if __name__ == "__main__":
    run_subcommand(
        {
            "featurize": (FeaturizeBenchConfig, measure_featurize),
            "lds": (LdsBenchConfig, measure_lds),
            "main-job": (MainJobConfig, measure_main_job),
            "projectors": (ProjectorsConfig, measure_projectors),
        },
        description=__doc__,
    )
