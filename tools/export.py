"""Write features or scores for other programs."""

from dtrak_stream.cli.main import run_tool

if __name__ == "__main__":
    run_tool("export")
