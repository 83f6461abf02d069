"""Generate images from a trained diffusion model: see `--help`."""

from dtrak_stream.cli.command_line import run
from dtrak_stream.generation import GenerationConfig, generate

if __name__ == "__main__":
    run(GenerationConfig, generate)
