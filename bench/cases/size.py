"""How much of everything: in full, and for a smoke run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """The counts of all cases."""

    #: No-op tasks one by one; and those of a system that would take minutes for them.
    tasks: int = 100_000
    tasks_slow: int = 5_000
    #: No-ops there and back.
    round_trips: int = 2_000
    #: The longest task tried for the smallest useful one; how long all of a length take an executor. Seconds.
    longest: float = 8e-3
    batch_seconds: float = 0.1
    #: Items of a map, and the chunks that are tried by hand.
    items: int = 1_000_000
    items_slow: int = 100_000
    chunks: tuple[int, ...] = (2_000, 8_000, 32_000, 125_000)
    #: The mix: so many short items, so many pauses of so many seconds.
    short_items: int = 100_000
    pauses: int = 6
    pause_seconds: float = 1.0
    #: Leaves of the tree of adds; steps of the stencil.
    leaves: int = 8_192
    steps: int = 500
    #: The array that is given to many tasks, and the block that comes back from each, in bytes; how many tasks.
    array: int = 100_000_000
    block: int = 50_000_000
    big_tasks: int = 20
    #: Tasks with 64 KiB in and out.
    echoes: int = 2_000
    #: Tasks that are pending together: beside peers, and alone.
    at_once: int = 200_000
    at_once_alone: int = 1_000_000
    #: Crashes from which slots come back.
    crashes: int = 10
    #: The killed executor: so many tasks of so many seconds.
    killed_tasks: int = 200
    killed_seconds: float = 0.05


FULL = Size()
QUICK = Size(
    tasks=200,
    tasks_slow=100,
    round_trips=50,
    longest=5e-4,
    batch_seconds=0.01,
    items=2_000,
    items_slow=500,
    chunks=(100, 500),
    short_items=200,
    pauses=2,
    pause_seconds=0.02,
    leaves=32,
    steps=5,
    array=1_000_000,
    block=1_000_000,
    big_tasks=4,
    echoes=20,
    at_once=300,
    at_once_alone=500,
    crashes=1,
    killed_tasks=20,
    killed_seconds=0.005,
)
