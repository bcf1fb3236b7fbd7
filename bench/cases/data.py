"""Tasks with much in their arguments or results."""

from __future__ import annotations

import os
import time
from functools import partial

from bench import systems
from bench.cases.case import Values
from bench.cases.size import Size
from bench.memory import Peak, pss_of_all
from bench.systems import bare
from bench.systems.base import SLOTS
from bench.tasks import block, echo, total

#: What one task of the last case is given, and gives back, in bytes.
PAYLOAD = 64 << 10
#: Different payloads, so that none is met in a cache.
PAYLOADS = 16
#: Elements of the array with which everything is imported and warm.
SMALL = 100


def array_to_many(name: str, size: Size) -> Values:
    """Seconds to give one array to many tasks, each of which reads all of it; then the memory for that, in megabytes.

    Memory is that of a second round, above the moment when the array is there: one copy for the machine is its size.
    """
    import numpy

    array = numpy.ones(size.array // 8)
    with systems.started(name) as system:
        give = partial(system.broadcast, total, times=size.big_tasks)
        system.broadcast(total, numpy.ones(SMALL), SLOTS * SLOTS)
        before = pss_of_all()
        began = time.perf_counter()
        sums = give(array)
        seconds = time.perf_counter() - began
        assert sums == [array.size] * size.big_tasks
        del sums
        # Another array, or the first round's copies would serve.
        array = numpy.full(size.array // 8, 2.0)
        with Peak(before) as peak:
            give(array)
        return seconds, peak.growth / 1e6


def blocks_back(name: str, size: Size) -> Values:
    """Megabytes a second of large results, each dropped when it has come."""
    if name in bare.STREAMS:
        return (bare.throughput(name, size.block * size.big_tasks),)
    with systems.started(name) as system:
        system.gather([system.submit(block, size.block) for _ in range(SLOTS * SLOTS)])
        began = time.perf_counter()
        handles = [system.submit(block, size.block) for _ in range(size.big_tasks)]
        handles.reverse()
        while handles:
            assert system.wait(handles.pop()).nbytes == size.block
        return (size.block * size.big_tasks / 1e6 / (time.perf_counter() - began),)


def payloads_both_ways(name: str, size: Size) -> Values:
    """Megabytes a second of arguments and results together, 64 KiB each."""
    payloads = [os.urandom(PAYLOAD) for _ in range(PAYLOADS)]
    with systems.started(name) as system:
        system.gather([system.submit(echo, payload) for payload in payloads])
        began = time.perf_counter()
        answers = system.gather([system.submit(echo, payloads[n % PAYLOADS]) for n in range(size.echoes)])
        seconds = time.perf_counter() - began
        assert answers[-1] == payloads[(size.echoes - 1) % PAYLOADS]
        return (2 * PAYLOAD * size.echoes / 1e6 / seconds,)
