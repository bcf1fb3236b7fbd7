"""Very many tasks pending together."""

from __future__ import annotations

import os
import time

from bench import systems
from bench.cases.case import Values
from bench.cases.size import Size
from bench.memory import pss
from bench.tasks import nothing


def at_once(name: str, size: Size) -> Values:
    """What `pending` finds, beside peers."""
    return pending(name, size.at_once)


def at_once_alone(name: str, size: Size) -> Values:
    """What `pending` finds with more than peers can be asked for."""
    return pending(name, size.at_once_alone)


def pending(name: str, tasks: int) -> Values:
    """Seconds for so many no-ops, all handles kept; the client's memory in megabytes; bytes of it for a task.

    Memory is looked at when all are submitted and when all are over; the larger counts.
    """
    me = os.getpid()
    with systems.started(name) as system:
        before = pss(me)
        began = time.perf_counter()
        handles = [system.submit(nothing) for _ in range(tasks)]
        submitted = time.perf_counter() - began
        most = pss(me)
        began = time.perf_counter()
        results = system.gather(handles)
        seconds = submitted + time.perf_counter() - began
        assert len(results) == tasks
        most = max(most, pss(me))
        return seconds, most / 1e6, (most - before) / tasks
