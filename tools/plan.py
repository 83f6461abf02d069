"""Say what a run would take, before it is begun."""

from dtrak_stream.command_line import run
from dtrak_stream.planning import PlanConfig, plan

if __name__ == "__main__":
    run(PlanConfig, plan)
