"""`python -m bench.threads`: the processor time that a no-op takes, by the thread that spends it.

Processor time says where a microsecond goes even on a machine that does other things as well; how long it all took is
told beside it, and means something on a quiet machine alone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

import click

import plait
from bench.tasks import nothing

#: Round trips for each task of a bulk: each takes as long as dozens of those.
TRIPS = 50


class Spent(NamedTuple):
    """Processor time so far, in nanoseconds."""

    caller: int
    threads: int
    executors: int

    @classmethod
    def so_far(cls) -> Spent:
        """Add it up: this thread, the others of this process, and its children."""
        caller = time.thread_time_ns()
        own = sum(of_thread(task) for task in Path("/proc/self/task").iterdir())
        executors = sum(of_thread(task) for child in children() for task in (child / "task").iterdir())
        return cls(caller, own - caller, executors)


def of_thread(task: Path) -> int:
    """Processor time of one thread, in nanoseconds, as the kernel counts it."""
    try:
        return int((task / "schedstat").read_text().split()[0])
    except OSError:
        return 0


def children() -> Iterator[Path]:
    """The child processes of this one."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parent = (entry / "stat").read_text().rpartition(") ")[2].split()[1]
            except OSError:
                continue
            if int(parent) == os.getpid():
                yield entry


def in_bulk(client: plait.Client, count: int) -> None:
    """Submit all, then gather all."""
    for future in [client.submit(nothing) for _ in range(count)]:
        future.result()


def one_by_one(client: plait.Client, count: int) -> None:
    """Wait for each before the next."""
    for _ in range(count // TRIPS):
        client.submit(nothing).result()


def take(client: plait.Client, work: Callable[[plait.Client, int], None], count: int) -> tuple[float, ...]:
    """Do it once: microseconds a task, of processor time by thread, and by the clock."""
    tasks = count // TRIPS if work is one_by_one else count
    before, began = Spent.so_far(), time.perf_counter_ns()
    work(client, count)
    took, after = time.perf_counter_ns() - began, Spent.so_far()
    return tuple(
        round(spent / 1e3 / tasks, 2) for spent in (*(b - a for a, b in zip(before, after, strict=True)), took)
    )


@click.command()
@click.option("--tasks", "count", type=click.IntRange(min=TRIPS), default=100_000, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=9, show_default=True)
def main(count: int, rounds: int) -> None:
    """Show where the microseconds of a no-op go: medians over some rounds, least and most behind them."""
    click.echo(f"{'µs a task':24}{'caller':>20}{'threads of plait':>20}{'executors':>20}{'by the clock':>20}")
    with plait.Client(slots=2) as client:
        in_bulk(client, 2_000)
        for name, work in (("submitted all at once", in_bulk), ("there and back", one_by_one)):
            columns = zip(*(take(client, work, count) for _ in range(rounds)), strict=True)
            cells = (f"{median(column):.2f} ({min(column):.2f}–{max(column):.2f})" for column in columns)
            click.echo(f"{name:24}" + "".join(f"{cell:>20}" for cell in cells))


if __name__ == "__main__":
    main()
