"""Which training images a diffusion model's output is due to, streamed from disk to disk.

Images flow once through a diffusion model, a projector and an HDF5 store; everything after that
is linear algebra over a store that never has to fit in memory.
"""

from dtrak_stream.attribution import AttributeConfig, AttributeResult, attribute
from dtrak_stream.data import ImageOptions, open_images
from dtrak_stream.errors import DtrakStreamError
from dtrak_stream.exchange import ExportConfig, ImportConfig, export, import_features
from dtrak_stream.features.gradient_features import FeatureOptions
from dtrak_stream.featurizing.execution import ExecutionOptions
from dtrak_stream.featurizing.options import FeaturizeConfig
from dtrak_stream.featurizing.run import featurize
from dtrak_stream.gram import GramConfig, GramOptions, compute_gram
from dtrak_stream.groups import GroupOptions
from dtrak_stream.planning import PlanConfig, plan
from dtrak_stream.report import ReportConfig, ReportOptions, write_report
from dtrak_stream.scoring import ScoreConfig, ScoreOptions, ScoresFile, score
from dtrak_stream.store import FeatureStore
from dtrak_stream.verification import VerifyConfig, verify

__version__ = "0.1.0"

__all__ = [
    "AttributeConfig",
    "AttributeResult",
    "DtrakStreamError",
    "ExecutionOptions",
    "ExportConfig",
    "FeatureOptions",
    "FeatureStore",
    "FeaturizeConfig",
    "GramConfig",
    "GramOptions",
    "GroupOptions",
    "ImageOptions",
    "ImportConfig",
    "PlanConfig",
    "ReportConfig",
    "ReportOptions",
    "ScoreConfig",
    "ScoreOptions",
    "ScoresFile",
    "VerifyConfig",
    "attribute",
    "compute_gram",
    "export",
    "featurize",
    "import_features",
    "open_images",
    "plan",
    "score",
    "verify",
    "write_report",
]
