"""The pools of the standard library."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from operator import methodcaller
from typing import Any

from bench.systems.base import SLOTS, OfExecutor, System


class OfProcessPool(OfExecutor):
    """`concurrent.futures.ProcessPoolExecutor`."""

    first_result = (
        "from concurrent.futures import ProcessPoolExecutor\n"
        "with ProcessPoolExecutor(2) as pool: pool.submit(abs, -1).result(); took()"
    )

    def executor(self) -> Executor:
        return ProcessPoolExecutor(SLOTS)

    def map_chunks(self, fn: Callable[[Any], Any], items: Sequence[Any], chunk: int) -> Iterable[Any]:
        return self.pool.map(fn, items, chunksize=chunk)


class OfPool(System):
    """`multiprocessing.Pool`."""

    first_result = "import multiprocessing\nwith multiprocessing.Pool(2) as pool: pool.apply(abs, (-1,)); took()"
    wait = staticmethod(methodcaller("get"))

    def __init__(self) -> None:
        self.pool = multiprocessing.Pool(SLOTS)
        apply_async = self.pool.apply_async
        self.submit = lambda fn, *args: apply_async(fn, args)

    def map(self, fn: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
        return self.pool.map(fn, items)

    def map_chunks(self, fn: Callable[[Any], Any], items: Sequence[Any], chunk: int) -> Iterable[Any]:
        return self.pool.map(fn, items, chunksize=chunk)

    def close(self) -> None:
        self.pool.terminate()
        self.pool.join()
