"""The main job: every stage in one call, each skipped when done."""

from dtrak_stream.attribution.configuration import AttributeConfig, AttributeResult
from dtrak_stream.attribution.run import attribute
from dtrak_stream.attribution.stages import model_folders

__all__ = ["AttributeConfig", "AttributeResult", "attribute", "model_folders"]
