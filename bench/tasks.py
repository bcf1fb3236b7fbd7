"""What the systems are given to run: importable functions, so that everybody can pickle them by name."""

from __future__ import annotations

import functools
import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy

    Array = numpy.ndarray[Any, numpy.dtype[Any]]


def nothing() -> None:
    """Do nothing."""


def increment(n: int) -> int:
    """Do next to nothing with an item."""
    return n + 1


def add(a: int, b: int) -> int:
    """Join two branches of a tree."""
    return a + b


def neighbours(left: int, middle: int, right: int) -> int:
    """Make a cell of the next step from three of this one."""
    return (left + 2 * middle + right) % 1_000_003


def each(fn: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """Apply a function to a chunk that was cut by hand."""
    return [fn(item) for item in items]


def spin(turns: int) -> None:
    """Keep a core busy for a number of turns, however often the machine looks away."""
    for _ in range(turns):
        pass


def pause(seconds: float) -> None:
    """Take so long: a microsecond by doing nothing, a second without a core."""
    if seconds >= 1e-3:
        time.sleep(seconds)


def where(seconds: float) -> int:
    """Take a while; say in which process."""
    time.sleep(seconds)
    return os.getpid()


def die() -> None:
    """Kill the process that runs this."""
    os.kill(os.getpid(), signal.SIGKILL)


def echo(data: bytes) -> bytes:
    """Give back what came."""
    return data


def total(array: Array) -> float:
    """Read all of an array."""
    return float(array.sum())


def block(size: int) -> Array:
    """Give a block of so many bytes: made once in each process, so that handing it over is all that is measured."""
    return made(size)


@functools.cache
def made(size: int) -> Array:
    """Make a block."""
    import numpy

    return numpy.ones(size, dtype=numpy.uint8)
