"""The main job, stage by stage as a user runs it, and what it finds on known answers."""

from dtrak_stream.benchmark.main_job.options import MainJobConfig
from dtrak_stream.benchmark.main_job.run import measure_main_job

__all__ = ["MainJobConfig", "measure_main_job"]
