"""Check that everything in a run folder is whole and belongs together."""

from dtrak_stream.cli.command_line import run
from dtrak_stream.verification import VerifyConfig, verify

if __name__ == "__main__":
    run(VerifyConfig, verify)
