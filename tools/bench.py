"""Measure this package on this machine; each subcommand writes OUT.json and OUT.md."""

from dtrak_stream.cli.main import run_tool

if __name__ == "__main__":
    run_tool("bench")
