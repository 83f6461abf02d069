"""The main job: attribute a model's outputs to its training images, end to end."""

from dtrak_stream.attribution import AttributeConfig, attribute
from dtrak_stream.cli.method_list import run_or_list

if __name__ == "__main__":
    run_or_list(AttributeConfig, attribute)
