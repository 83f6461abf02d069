"""Train a LoRA of a diffusion model on images and their captions."""

from dtrak_stream.cli.main import run_tool

if __name__ == "__main__":
    run_tool("train-lora")
