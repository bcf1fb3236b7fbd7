"""`map`: many trivial items, and a mix in which the chunk that suits most items does not suit all."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from bench import systems
from bench.cases.case import Values
from bench.cases.size import Size
from bench.systems.base import SLOTS
from bench.tasks import increment, pause

#: The short items of the mix, in seconds.
SHORT = 1e-6
#: How many of them come first, unmeasured.
WARM_UP = 100
#: Where the long ones stand is always the same.
SEED = 1


def trivial_items(name: str, size: Size) -> Values:
    """Items a second. Who finds the chunks is left to its defaults; the others get the best of several."""
    cls = systems.system_class(name)
    items = list(range(size.items_slow if cls.slow else size.items))
    with systems.started(name) as system:
        if cls.finds_chunks:
            rate(partial(system.map, increment), items[: len(items) // 10])
            return (rate(partial(system.map, increment), items),)
        rates = {chunk: rate(partial(system.map_chunks, increment, chunk=chunk), items) for chunk in size.chunks}
        best = max(rates, key=rates.__getitem__)
        return (rate(partial(system.map_chunks, increment, chunk=best), items),)


def rate(apply: Callable[[list[int]], Iterable[Any]], items: list[int]) -> float:
    """Items a second, with all results in a list in the end."""
    began = time.perf_counter()
    results = list(apply(items))
    seconds = time.perf_counter() - began
    assert len(results) == len(items)
    assert results[-1] == items[-1] + 1
    return len(items) / seconds


def mix(name: str, size: Size) -> Values:
    """Time over the ideal for very short and very long items in one `map`, with defaults."""
    items = [SHORT] * size.short_items + [size.pause_seconds] * size.pauses
    random.Random(SEED).shuffle(items)
    with systems.started(name) as system:
        list(system.map(pause, [SHORT] * WARM_UP))
        began = time.perf_counter()
        for _ in system.map(pause, items):
            pass
        return ((time.perf_counter() - began) / (sum(items) / SLOTS),)
