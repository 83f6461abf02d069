"""The main job: every stage in one call, each skipped when done."""

from dtrak_stream.attribution.configuration import AttributeConfig, AttributeResult
from dtrak_stream.attribution.plan import AttributionPlan, make_plan
from dtrak_stream.attribution.run import attribute

__all__ = ["AttributeConfig", "AttributeResult", "AttributionPlan", "attribute", "make_plan"]
