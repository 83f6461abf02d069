"""Judge scores by retrained models: the linear datamodeling score."""

from dtrak_stream.cli.command_line import run
from dtrak_stream.evaluation.lds import LdsConfig, lds

if __name__ == "__main__":
    run(LdsConfig, lds)
