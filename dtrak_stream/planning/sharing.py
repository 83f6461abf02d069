"""Who shares the work of a planned run, and how much sooner it is done for that.

Features and Gram matrices are shared; scores and what comes after are computed by one process.
Processes of this machine are as fast together as what they are given of it: on the processor, by
how many of its cores they take; on other devices, by how many of them there are. Workers of a
scheduler are taken to be as fast as this process each.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

import torch

from dtrak_stream.gram.plan import GramForm, GramPlan, plan_gram, plan_on
from dtrak_stream.store.reader import FeatureStore
from dtrak_stream.support.cluster import connect
from dtrak_stream.support.cluster_options import ClusterOptions, threads_of_workers
from dtrak_stream.support.device import choose_device


@dataclass(frozen=True)
class Sharing:
    """Processes that share the features and the Gram matrices of a run.

    Attributes
    ----------
    options
        What the user chose.
    processes
        How many there are.
    times_as_fast
        What they do in a second, of what this process does.
    """

    options: ClusterOptions
    processes: int = 1
    times_as_fast: float = 1.0

    @classmethod
    def of(cls, options: ClusterOptions, device: str) -> Sharing:
        """Return who shares the work of a run.

        Parameters
        ----------
        options
            What the user chose.
        device
            Where this process computes, as `--device` says it.

        Raises
        ------
        InputError
            If no scheduler answers at its address, or it has no workers.
        """
        if options.is_this_process:
            return cls(options)
        if options.scheduler is not None:
            with connect(options) as cluster:
                processes = cluster.workers // cluster.threads
            return cls(options, processes, float(processes))
        names = options.device_names() or (device,) * options.processes
        types = [choose_device(name).type for name in names]
        distinct = {name for name, kind in zip(names, types, strict=True) if kind != "cpu"}
        on_cpu = _share_of_cores(types.count("cpu"))
        return cls(options, len(names), len(distinct) + on_cpu)

    @property
    def is_here(self) -> bool:
        """Return whether all processes are on this machine."""
        return self.options.scheduler is None

    def plan_gram(
        self, store: FeatureStore, form: GramForm | Literal["auto"], *, memory_limit: int
    ) -> GramPlan:
        """Return how the Gram matrix of a store would be cut; raises as `plan_on`."""
        if self.is_here and not self.options.is_this_process:
            # as where they run, a task at a time each; they are not started for that
            return plan_gram(store, form, memory_limit=memory_limit, workers=1)
        with connect(self.options) as cluster:
            return plan_on(cluster, store, form, memory_limit=memory_limit)


def _share_of_cores(processes: int) -> float:
    """Return how much faster so many processes are than this one, by the cores that they take."""
    here = torch.get_num_threads()
    threads = min(processes * threads_of_workers(processes, here), os.cpu_count() or 1)
    return threads / here if processes else 0.0
