"""Features and scores from and for other programs."""

from dtrak_stream.exchange.declaration import DeclaredFeatures
from dtrak_stream.exchange.exporting import ExportConfig, ExportResult, export
from dtrak_stream.exchange.feature_array import ArrayOptions
from dtrak_stream.exchange.importing import ImportConfig, ImportResult, import_features
from dtrak_stream.exchange.scaled_rows import RowRules

__all__ = [
    "ArrayOptions",
    "DeclaredFeatures",
    "ExportConfig",
    "ExportResult",
    "ImportConfig",
    "ImportResult",
    "RowRules",
    "export",
    "import_features",
]
