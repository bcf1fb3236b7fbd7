"""Tasks that need what other tasks returned: handed over as they are, or else driven level by level from here."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from bench import systems
from bench.cases.case import Values
from bench.cases.size import Size
from bench.systems.base import System
from bench.tasks import add, neighbours

#: Cells of a row of the stencil.
WIDTH = 8


def tree(name: str, size: Size) -> Values:
    """Tasks a second in a binary tree of adds."""
    leaves = list(range(size.leaves))
    with systems.started(name) as system:
        began = time.perf_counter()
        (root,) = grow(system, leaves, halved)
        seconds = time.perf_counter() - began
        assert root == sum(leaves)
        return ((size.leaves - 1) / seconds,)


def stencil(name: str, size: Size) -> Values:
    """Tasks a second in rows of eight cells, each made from its three neighbours in the row before."""
    row = list(range(WIDTH))
    expected = row
    for _ in range(size.steps):
        expected = [neighbours(*around(expected, n)) for n in range(WIDTH)]
    steps = iter(range(size.steps))

    def stepped(system: System, row: list[Any]) -> list[Any] | None:
        if next(steps, None) is None:
            return None
        return [system.submit(neighbours, *around(row, n)) for n in range(WIDTH)]

    with systems.started(name) as system:
        began = time.perf_counter()
        last = grow(system, row, stepped)
        seconds = time.perf_counter() - began
        assert last == expected
        return (WIDTH * size.steps / seconds,)


#: Submits the next level, made from this one's values or handles; None where this was the last.
Level = Callable[[System, list[Any]], list[Any] | None]


def grow(system: System, level: list[Any], above: Level) -> list[Any]:
    """Go up level by level; who cannot take handles as arguments waits for each level."""
    handles: list[Any] = []
    while (higher := above(system, level)) is not None:
        handles = higher
        level = handles if system.takes_handles else system.gather(handles)
    return system.gather(handles) if system.takes_handles else level


def halved(system: System, level: list[Any]) -> list[Any] | None:
    if len(level) == 1:
        return None
    return [system.submit(add, a, b) for a, b in zip(level[::2], level[1::2], strict=True)]


def around(row: list[Any], n: int) -> tuple[Any, Any, Any]:
    """Return a cell and its neighbours; the row is a ring."""
    return row[n - 1], row[n], row[(n + 1) % WIDTH]
