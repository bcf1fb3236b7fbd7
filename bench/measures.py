"""What is measured. Each takes a freshly started system and returns one figure."""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bench import systems

#: How long one wait may take before a system counts as hanging, in seconds.
PATIENCE = 60.0
#: The killed executor: so many tasks of so many seconds.
TASKS, TASK_SECONDS = 200, 0.05
#: The executor that ran this one is killed.
KILL_AFTER = 10


@dataclass(frozen=True)
class Measure:
    """One row of the table."""

    name: str
    unit: str
    better: Literal["more", "less"]
    #: Measures a system, by its name.
    take: Callable[[str], float]
    #: Whom plait is held against.
    peers: tuple[str, ...]


def nothing() -> None:
    """The task that does nothing."""


def where() -> int:
    """Take a while; say where."""
    time.sleep(TASK_SECONDS)
    return os.getpid()


def die() -> None:
    """Kill the executor."""
    os.kill(os.getpid(), signal.SIGKILL)


def start(name: str) -> systems.System:
    """Start a system and wait until each of its processes has done something."""
    system = systems.OfPlait() if name == "plait" else systems.PEERS[name]()
    for wait in [system.submit(nothing) for _ in range(200)]:
        wait(PATIENCE)
    return system


def throughput(name: str, tasks: int = 100_000) -> float:
    """No-op tasks a second: submitted one by one, all futures kept, all results gathered."""
    with contextlib.closing(start(name)) as system:
        began = time.perf_counter()
        for wait in [system.submit(nothing) for _ in range(tasks)]:
            wait(PATIENCE)
        return tasks / (time.perf_counter() - began)


def round_trip(name: str, tasks: int = 2_000) -> float:
    """Median time from submit to result of a no-op, one after the other, in microseconds."""
    with contextlib.closing(start(name)) as system:
        times = []
        for _ in range(tasks):
            began = time.perf_counter()
            system.submit(nothing)(PATIENCE)
            times.append(time.perf_counter() - began)
        return statistics.median(times) * 1e6


def first_result(name: str) -> float:
    """From just before the import to the first result, in a fresh interpreter, in milliseconds."""
    head = "import time; t = time.perf_counter()\ndef took(): print(time.perf_counter() - t)\n"
    code = head + systems.FIRST_RESULT[name]
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(answer.stdout) * 1e3


def slot_back(name: str) -> float:
    """From the news of a crash until every slot has done a task again, median of ten, in milliseconds.

    A standard library's executor is lost with one of its processes: its way back is a new one.
    """
    times = []
    system = start(name)
    for _ in range(10):
        with contextlib.suppress(Exception):
            system.submit_fragile(die)(PATIENCE)
        began = time.perf_counter()
        if name != "plait":
            system.close()
            system = systems.PEERS[name]()
        for wait in [system.submit(where) for _ in range(systems.SLOTS)]:
            wait(PATIENCE)
        times.append(time.perf_counter() - began - TASK_SECONDS)
    system.close()
    return statistics.median(times) * 1e3


def right_results(name: str) -> float:
    """How many of 200 tasks of 50 ms come back right although an executor is killed in the middle."""
    right = 0
    with contextlib.closing(start(name)) as system:
        for n, wait in enumerate([system.submit(where) for _ in range(TASKS)]):
            with contextlib.suppress(Exception):
                pid = wait(PATIENCE)
                right += 1
                if n == KILL_AFTER:
                    os.kill(pid, signal.SIGKILL)
    return right


STDLIB = tuple(systems.PEERS)
MEASURES = [
    Measure("no-op tasks one by one", "tasks/s", "more", throughput, STDLIB),
    Measure("round trip of a no-op, median", "us", "less", round_trip, STDLIB),
    Measure("import to first result", "ms", "less", first_result, STDLIB),
    Measure("slots back after a crash, median", "ms", "less", slot_back, STDLIB[:1]),
    # multiprocessing.Pool is not asked: it waits for ever for what its lost process had.
    Measure("200 x 50 ms, one killed: right results", "", "more", right_results, STDLIB[:1]),
]
