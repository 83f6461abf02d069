"""Write features or scores for other programs."""

from dtrak_stream.cli.command_line import run
from dtrak_stream.exchange import ExportConfig, export

if __name__ == "__main__":
    run(ExportConfig, export)
