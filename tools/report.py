"""Write the page that shows each query with its strongest proponents and opponents."""

from dtrak_stream.cli.command_line import run
from dtrak_stream.report import ReportConfig, write_report

if __name__ == "__main__":
    run(ReportConfig, write_report)
