"""Say what a run would take, before it is begun."""

from dtrak_stream.cli.method_list import run_or_list
from dtrak_stream.planning import PlanConfig, plan

if __name__ == "__main__":
    run_or_list(PlanConfig, plan)
