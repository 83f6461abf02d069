"""Generate images from a trained diffusion model."""

from dtrak_stream.cli.main import run_tool

if __name__ == "__main__":
    run_tool("generate")
