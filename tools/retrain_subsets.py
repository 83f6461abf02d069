"""Retrain a model on random subsets of its images and measure the loss of each query."""

from dtrak_stream.cli.command_line import run
from dtrak_stream.evaluation.retraining import RetrainConfig, retrain_subsets

if __name__ == "__main__":
    run(RetrainConfig, retrain_subsets)
