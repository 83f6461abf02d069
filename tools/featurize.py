"""Compute the features of images and store them."""

from dtrak_stream.cli.main import run_tool

if __name__ == "__main__":
    run_tool("featurize")
