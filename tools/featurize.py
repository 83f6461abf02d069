"""Compute the features of images and store them."""

from dtrak_stream.featurize import FeaturizeConfig, featurize
from dtrak_stream.command_line import run

if __name__ == "__main__":
    run(FeaturizeConfig, featurize)
