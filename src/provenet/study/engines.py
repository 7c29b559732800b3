"""Where the cells of a study are made: processes of this machine, or a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from provenet.study.ablate import Execute
from provenet.study.cells import Outcome, Task

MOST_WORKERS = 8


def engine_of(ray: str | None, workers: int | None) -> tuple[Execute, int, int]:
    """Return what carries cells out, how many at a time, and the threads of each.

    Args:
        ray: address of a Ray cluster, or "local"; None: processes of this machine.
        workers: cells at a time; None: one for two cores, at most `MOST_WORKERS`; on Ray as many as the cluster holds.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    at_a_time = workers or max(1, min(MOST_WORKERS, cores // 2))
    threads = max(1, cores // at_a_time)
    if ray is None:
        return _local(at_a_time), at_a_time, threads
    return _ray(ray, workers), at_a_time, threads


def _local(workers: int) -> Execute:
    def execute(
        tasks: Sequence[Task], heard: Callable[[Outcome], None], progress: Callable[[str, float], None]
    ) -> None:
        from provenet.study.execute_local import execute as execute_local

        execute_local(tasks, workers, heard, progress)

    return execute


def _ray(address: str, workers: int | None) -> Execute:
    def execute(
        tasks: Sequence[Task], heard: Callable[[Outcome], None], progress: Callable[[str, float], None]
    ) -> None:
        from provenet.study.execute_ray import execute as execute_ray

        execute_ray(tasks, address, heard, progress, workers)

    return execute
