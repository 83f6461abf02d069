"""Check that everything in a run folder is whole and belongs together."""

from dtrak_stream.cli.main import run_tool

if __name__ == "__main__":
    run_tool("verify")
