"""Compute the Gram matrix of a feature store."""

from dtrak_stream.cli.main import run_tool

if __name__ == "__main__":
    run_tool("gram")
