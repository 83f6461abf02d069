"""What a person looks at: one HTML page and PNG grids of a run's proponents and opponents."""

from dtrak_stream.report.options import ReportConfig, ReportOptions, ReportResult
from dtrak_stream.report.tiles import can_be_shown
from dtrak_stream.report.write import update_report, write_report

__all__ = [
    "ReportConfig",
    "ReportOptions",
    "ReportResult",
    "can_be_shown",
    "update_report",
    "write_report",
]
