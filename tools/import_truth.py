"""Bring losses of retrained models that another program measured into a truth file."""

from dtrak_stream.cli.main import run_tool

if __name__ == "__main__":
    run_tool("import-truth")
