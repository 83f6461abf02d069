"""The main job: attribute a model's outputs to its training images, end to end."""

from dtrak_stream.attribute import AttributeConfig, attribute
from dtrak_stream.command_line import run

if __name__ == "__main__":
    run(AttributeConfig, attribute)
