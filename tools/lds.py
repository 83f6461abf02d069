"""Judge scores by retrained models: the linear datamodeling score."""

from dtrak_stream.cli.main import run_tool

if __name__ == "__main__":
    run_tool("lds")
