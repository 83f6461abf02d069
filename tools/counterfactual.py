"""Remove the proponents of generated images, retrain, and generate the images again."""

from dtrak_stream.cli.main import run_tool

if __name__ == "__main__":
    run_tool("counterfactual")
