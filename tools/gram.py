"""Compute the Gram matrix of a feature store."""

from dtrak_stream.gram import GramConfig, compute_gram
from dtrak_stream.command_line import run

if __name__ == "__main__":
    run(GramConfig, compute_gram)
