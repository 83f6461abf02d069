"""The Gram matrix of a store of features: plan, products, run, file."""

from dtrak_stream.gram.file import Gram
from dtrak_stream.gram.plan import GramForm, GramPlan, plan_gram
from dtrak_stream.gram.run import GramConfig, GramOptions, GramResult, compute_gram

__all__ = [
    "Gram",
    "GramConfig",
    "GramForm",
    "GramOptions",
    "GramPlan",
    "GramResult",
    "compute_gram",
    "plan_gram",
]
