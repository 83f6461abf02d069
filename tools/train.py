"""Train an unconditional diffusion model from scratch: see `--help`."""

from dtrak_stream.cli.command_line import run
from dtrak_stream.training import TrainingConfig, train

if __name__ == "__main__":
    run(TrainingConfig, train)
