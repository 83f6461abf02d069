"""The main job: attribute a model's outputs to its training images, end to end."""

from dtrak_stream.cli.main import run_tool

if __name__ == "__main__":
    run_tool("attribute")
