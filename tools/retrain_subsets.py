"""Retrain a model on random subsets of its images and measure the loss of each query."""

from dtrak_stream.cli.main import run_tool

if __name__ == "__main__":
    run_tool("retrain-subsets")
