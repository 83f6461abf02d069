"""Bring features that another program computed into a store."""

from dtrak_stream.cli.command_line import run
from dtrak_stream.exchange import ImportConfig, import_features

if __name__ == "__main__":
    run(ImportConfig, import_features)
