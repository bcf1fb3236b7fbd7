"""What plait wants to reach, and how far it is from it."""

from __future__ import annotations

from dataclasses import dataclass

from bench.record import Record, Row
from bench.systems import CLUSTER, POOL, PROCESS_POOL, PROTOTYPE, RAY


@dataclass(frozen=True)
class Aim:
    """A bound on one row: of the ratio if there is a peer, else of our own figure."""

    row: str
    peer: str = ""
    at_least: float = 0.0
    at_most: float = 0.0

    @property
    def text(self) -> str:
        return f">= {self.at_least:g}" if self.at_least else f"<= {self.at_most:g}"

    def shortfall(self, reached: float) -> float:
        """How many times the figure misses the aim; at most 1 where it does not."""
        return self.at_least / max(reached, 1e-9) if self.at_least else reached / self.at_most


#: Embedded may be so many times faster than a cluster on the same machine.
CLUSTER_AT_MOST = 2.0

AIMS = [
    Aim("no-op tasks one by one", PROCESS_POOL, at_least=20),
    Aim("no-op tasks one by one", POOL, at_least=5),
    Aim("no-op tasks one by one", PROTOTYPE, at_least=15),
    Aim("no-op there and back, median", PROCESS_POOL, at_least=2),
    Aim("smallest task for 50 % on two executors", at_most=40),
    Aim("map of 1,000,000 trivial items", POOL, at_least=1),
    Aim("map of 1 µs and 1 s items, over the ideal", at_most=1.15),
    Aim("tree of 8,192 adds", POOL, at_least=2),
    Aim("stencil 8 × 500", POOL, at_least=2),
    Aim("100 MB array to 20 tasks", RAY, at_least=1 / 0.65),
    Aim("20 × 50 MB back", PROCESS_POOL, at_least=6),
    Aim("2,000 × 64 KiB in and out", PROCESS_POOL, at_least=2),
    Aim("200,000 tasks at once", at_most=2),
    Aim("200,000 tasks at once: client", at_most=300),
    Aim("import to first result", at_most=150),
    Aim("200 × 50 ms, one process killed: results", at_least=200),
    Aim("200 × 50 ms, one process killed: lost", at_most=0.3),
    *(
        Aim(case, CLUSTER, at_most=CLUSTER_AT_MOST)
        for case in (
            "no-op tasks one by one",
            "map of 1,000,000 trivial items",
            "tree of 8,192 adds",
            "stencil 8 × 500",
            "100 MB array to 20 tasks",
            "20 × 50 MB back",
            "2,000 × 64 KiB in and out",
            "200,000 tasks at once",
        )
    ),
]


def shortfalls(record: Record) -> list[tuple[float, float, Aim]]:
    """Every aim that this run can judge: how many times it is missed, what was reached; the furthest first."""
    found = []
    for aim in AIMS:
        reached = [value for row in record.rows if row.name == aim.row and (value := figure(row, aim)) is not None]
        if reached:
            found.append((aim.shortfall(reached[0]), reached[0], aim))
    return sorted(found, key=lambda entry: -entry[0])


def figure(row: Row, aim: Aim) -> float | None:
    """What an aim bounds in a row, if it is that row's."""
    if aim.peer:
        return row.ratio.median if row.peer == aim.peer and row.ratio else None
    return row.our_spread.median if row.our_spread else None
