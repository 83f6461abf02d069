"""Write the page that shows each query with its strongest proponents and opponents."""

from dtrak_stream.cli.main import run_tool

if __name__ == "__main__":
    run_tool("report")
