"""Remove the proponents of generated images, retrain, and generate the images again."""

from dtrak_stream.cli.command_line import run
from dtrak_stream.evaluation.counterfactual import CounterfactualConfig, counterfactual

if __name__ == "__main__":
    run(CounterfactualConfig, counterfactual)
