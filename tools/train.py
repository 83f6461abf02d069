"""Train an unconditional diffusion model, from scratch or further."""

from dtrak_stream.cli.main import run_tool

if __name__ == "__main__":
    run_tool("train")
