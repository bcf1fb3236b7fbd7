"""Beginnings and deaths."""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import subprocess
import sys
import time

from bench import systems
from bench.cases.case import Values
from bench.cases.size import Size
from bench.systems.base import SLOTS
from bench.tasks import die, where

#: What a task that finds out where it runs takes, so that each slot gets one, in seconds.
LOOK_SECONDS = 0.05
#: Starts the clock of a fresh interpreter.
CLOCK = "import time; t = time.perf_counter()\ndef took(): print('took', time.perf_counter() - t, flush=True)\n"


def first_result(name: str, _size: Size) -> Values:
    """From just before the import to the first result, in a fresh interpreter, in milliseconds."""
    script = CLOCK + systems.system_class(name).first_result
    answer = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True)
    (line,) = (line for line in answer.stdout.splitlines() if line.startswith("took "))
    return (float(line.removeprefix("took ")) * 1e3,)


def slots_back(name: str, size: Size) -> Values:
    """From the news of a crash until every slot has done a task again, median, in milliseconds.

    The standard library's executor is lost with one of its processes: its way back is a new one.
    """
    times = []
    with systems.started(name) as system:
        for _ in range(size.crashes):
            with contextlib.suppress(Exception):
                system.wait(system.submit_fragile(die))
            began = time.perf_counter()
            system.recover()
            system.gather([system.submit(where, LOOK_SECONDS) for _ in range(SLOTS)])
            times.append(time.perf_counter() - began - LOOK_SECONDS)
    return (statistics.median(times) * 1e3,)


def one_killed(name: str, size: Size) -> Values:
    """How many results come back right although a process is killed in the middle, and the seconds lost if all did."""
    right = 0
    with systems.started(name) as system:
        began = time.perf_counter()
        for n, handle in enumerate([system.submit(where, size.killed_seconds) for _ in range(size.killed_tasks)]):
            with contextlib.suppress(Exception):
                pid = system.wait(handle)
                right += 1
                if n == size.killed_tasks // 2:
                    os.kill(pid, signal.SIGKILL)
        lost = time.perf_counter() - began - size.killed_tasks * size.killed_seconds / SLOTS
        return right, lost if right == size.killed_tasks else None
