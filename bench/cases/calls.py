"""Single calls: how many a second, how fast there and back, how small they may be."""

from __future__ import annotations

import math
import statistics
import time

from bench import systems
from bench.cases.case import Values
from bench.cases.size import Size
from bench.systems import bare
from bench.systems.base import SLOTS, System
from bench.tasks import nothing, spin

#: What every batch of tasks must reach, of what its executors could do.
EFFICIENCY = 0.5
#: How often each length is tried; all of it counts.
TRIES = 3
#: Where the search for the smallest task ends, in seconds.
SHORTEST = 4e-6
#: The loop by which `spin` is calibrated: turns, and how often; the fastest counts.
CALIBRATION_TURNS, CALIBRATION_TRIES = 20_000, 50


def throughput(name: str, size: Size) -> Values:
    """No-op tasks a second: submitted one by one, every handle kept, every result gathered."""
    tasks = size.tasks_slow if systems.system_class(name).slow else size.tasks
    with systems.started(name) as system:
        began = time.perf_counter()
        system.gather([system.submit(nothing) for _ in range(tasks)])
        return (tasks / (time.perf_counter() - began),)


def round_trip(name: str, size: Size) -> Values:
    """Median time of a no-op there and back, one after the other, in microseconds."""
    if name in bare.CHAINS:
        return (bare.round_trip(name, size.round_trips),)
    times = []
    with systems.started(name) as system:
        for _ in range(size.round_trips):
            began = time.perf_counter()
            system.wait(system.submit(nothing))
            times.append(time.perf_counter() - began)
    return (statistics.median(times) * 1e6,)


def smallest_task(name: str, size: Size) -> Values:
    """The length at which two executors do half of what they could, submitted one by one, in microseconds (METG).

    Lengths are halved until the efficiency falls below; the length in between is read off a line from the last but one.
    """
    turn = seconds_per_turn()
    turns = round(size.batch_seconds / turn)
    with systems.started(name) as system:
        parts, reached = math.ceil(size.batch_seconds / size.longest), 1.0
        while (length := size.batch_seconds / parts) > SHORTEST:
            efficiency = efficiency_of(system, turns, parts)
            if efficiency < EFFICIENCY:
                share = (reached - EFFICIENCY) / (reached - efficiency)
                return (length * 2.0 ** (1.0 - share) * 1e6,)
            parts, reached = parts * 2, efficiency
    return (length * 1e6,)


def efficiency_of(system: System, turns: int, parts: int) -> float:
    """How fast the executors do work that is cut in parts, beside the same work undivided, in turns.

    So a machine that gives them less than two cores, or less than before, makes both slower.
    """
    undivided = divided = 0.0
    for _ in range(TRIES):
        undivided += seconds_for(system, turns, 1)
        divided += seconds_for(system, turns // parts, parts)
    return undivided / divided


def seconds_for(system: System, turns: int, tasks: int) -> float:
    """How long each executor's so many tasks take, together."""
    began = time.perf_counter()
    system.gather([system.submit(spin, turns) for _ in range(SLOTS * tasks)])
    return time.perf_counter() - began


def seconds_per_turn() -> float:
    """How long a turn of `spin` takes on a core of its own."""
    best = math.inf
    for _ in range(CALIBRATION_TRIES):
        began = time.perf_counter()
        spin(CALIBRATION_TURNS)
        best = min(best, time.perf_counter() - began)
    return best / CALIBRATION_TURNS
