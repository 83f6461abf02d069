"""Bring features that another program computed into a store."""

from dtrak_stream.cli.main import run_tool

if __name__ == "__main__":
    run_tool("import-features")
