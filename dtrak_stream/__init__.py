"""Which training images a diffusion model's output is due to, streamed from disk to disk.

Images flow once through a diffusion model, a projector and an HDF5 store; everything after that
is linear algebra over a store that never has to fit in memory.

A name is imported from its module when it is first asked for, so that importing the package waits
for none of the libraries that some of it needs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dtrak_stream.attribution.configuration import AttributeConfig, AttributeResult
    from dtrak_stream.attribution.run import attribute
    from dtrak_stream.data.condition_options import ConditionOptions
    from dtrak_stream.data.images import open_images
    from dtrak_stream.data.options import ImageOptions, ImageShape
    from dtrak_stream.data.query_options import QueryConditionOptions, QueryImageOptions
    from dtrak_stream.data.samples import SampleBatch
    from dtrak_stream.errors import DtrakStreamError
    from dtrak_stream.exchange.exporting import export
    from dtrak_stream.exchange.importing import import_features
    from dtrak_stream.exchange.options import ExportConfig, ImportConfig
    from dtrak_stream.features.options import FeatureOptions
    from dtrak_stream.featurizing.options import ExecutionOptions, FeaturizeConfig
    from dtrak_stream.featurizing.run import featurize
    from dtrak_stream.gram.options import GramConfig, GramOptions
    from dtrak_stream.gram.run import compute_gram
    from dtrak_stream.groups.options import GroupOptions
    from dtrak_stream.model.conditioning import ClassLabels, Conditioner
    from dtrak_stream.model.denoiser import Denoiser
    from dtrak_stream.model.flow_schedule import FlowMatchingSchedule
    from dtrak_stream.model.schedule import DDPMSchedule, NoiseSchedule
    from dtrak_stream.planning.options import PlanConfig
    from dtrak_stream.planning.run import plan
    from dtrak_stream.report.options import ReportConfig, ReportOptions
    from dtrak_stream.report.write import write_report
    from dtrak_stream.scoring.options import ScoreConfig, ScoreOptions
    from dtrak_stream.scoring.run import score
    from dtrak_stream.scoring.scores_file import ScoresFile
    from dtrak_stream.store.reader import FeatureStore
    from dtrak_stream.store.removal import remove
    from dtrak_stream.store.removal_options import RemoveConfig
    from dtrak_stream.verification.options import VerifyConfig
    from dtrak_stream.verification.run import verify

__version__ = "0.1.0"

__all__ = [
    "AttributeConfig",
    "AttributeResult",
    "ClassLabels",
    "ConditionOptions",
    "Conditioner",
    "DDPMSchedule",
    "Denoiser",
    "DtrakStreamError",
    "ExecutionOptions",
    "ExportConfig",
    "FeatureOptions",
    "FeatureStore",
    "FeaturizeConfig",
    "FlowMatchingSchedule",
    "GramConfig",
    "GramOptions",
    "GroupOptions",
    "ImageOptions",
    "ImageShape",
    "ImportConfig",
    "NoiseSchedule",
    "PlanConfig",
    "QueryConditionOptions",
    "QueryImageOptions",
    "RemoveConfig",
    "ReportConfig",
    "ReportOptions",
    "SampleBatch",
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
    "remove",
    "score",
    "verify",
    "write_report",
]

_HOMES = {
    "AttributeConfig": "attribution.configuration",
    "AttributeResult": "attribution.configuration",
    "ClassLabels": "model.conditioning",
    "ConditionOptions": "data.condition_options",
    "Conditioner": "model.conditioning",
    "DDPMSchedule": "model.schedule",
    "Denoiser": "model.denoiser",
    "DtrakStreamError": "errors",
    "ExecutionOptions": "featurizing.options",
    "ExportConfig": "exchange.options",
    "FeatureOptions": "features.options",
    "FeatureStore": "store.reader",
    "FeaturizeConfig": "featurizing.options",
    "FlowMatchingSchedule": "model.flow_schedule",
    "GramConfig": "gram.options",
    "GramOptions": "gram.options",
    "GroupOptions": "groups.options",
    "ImageOptions": "data.options",
    "ImageShape": "data.options",
    "ImportConfig": "exchange.options",
    "NoiseSchedule": "model.schedule",
    "PlanConfig": "planning.options",
    "QueryConditionOptions": "data.query_options",
    "QueryImageOptions": "data.query_options",
    "RemoveConfig": "store.removal_options",
    "ReportConfig": "report.options",
    "ReportOptions": "report.options",
    "SampleBatch": "data.samples",
    "ScoreConfig": "scoring.options",
    "ScoreOptions": "scoring.options",
    "ScoresFile": "scoring.scores_file",
    "VerifyConfig": "verification.options",
    "attribute": "attribution.run",
    "compute_gram": "gram.run",
    "export": "exchange.exporting",
    "featurize": "featurizing.run",
    "import_features": "exchange.importing",
    "open_images": "data.images",
    "plan": "planning.run",
    "remove": "store.removal",
    "score": "scoring.run",
    "verify": "verification.run",
    "write_report": "report.write",
}
"""The module of each public name, below this package."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
