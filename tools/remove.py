"""Remove samples from feature stores."""

from dtrak_stream.cli.main import run_tool

if __name__ == "__main__":
    run_tool("remove")
