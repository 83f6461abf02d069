"""Say what a run would take, before it is begun."""

from dtrak_stream.cli.main import run_tool

if __name__ == "__main__":
    run_tool("plan")
