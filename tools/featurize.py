"""Compute the features of images and store them."""

from dtrak_stream.cli.command_line import run
from dtrak_stream.featurizing.options import FeaturizeConfig
from dtrak_stream.featurizing.run import featurize

if __name__ == "__main__":
    run(FeaturizeConfig, featurize)
