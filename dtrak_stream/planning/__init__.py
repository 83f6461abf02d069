"""What a run would take, before it is begun."""

from dtrak_stream.planning.options import PlanConfig
from dtrak_stream.planning.run import PlanResult, plan

__all__ = ["PlanConfig", "PlanResult", "plan"]
