"""Compute the Gram matrix of a feature store."""

from dtrak_stream.cli.command_line import run
from dtrak_stream.gram import GramConfig, compute_gram

if __name__ == "__main__":
    run(GramConfig, compute_gram)
