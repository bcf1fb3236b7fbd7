"""The systems that are compared, each behind the same few calls."""

from __future__ import annotations

import multiprocessing
import multiprocessing.pool
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from typing import Any, Protocol

import plait

#: Worker processes of each.
SLOTS = 2


class System(Protocol):
    """What a measure needs."""

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Callable[[float], Any]:
        """Start one call; what comes back waits for its result, at most so many seconds."""

    def submit_fragile(self, fn: Callable[..., Any], /) -> Callable[[float], Any]:
        """Start one call that is not tried again when it kills its process."""

    def close(self) -> None:
        """End every process."""


class OfExecutor:
    """A `concurrent.futures.Executor`."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Callable[[float], Any]:
        return self.executor.submit(fn, *args).result

    submit_fragile = submit

    def close(self) -> None:
        self.executor.shutdown()


class OfPool:
    """A `multiprocessing.Pool`."""

    def __init__(self) -> None:
        self.pool = multiprocessing.Pool(SLOTS)

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Callable[[float], Any]:
        return self.pool.apply_async(fn, args).get

    submit_fragile = submit

    def close(self) -> None:
        self.pool.terminate()
        self.pool.join()


class OfPlait(OfExecutor):
    """plait, embedded."""

    def __init__(self) -> None:
        self.client = plait.Client(slots=SLOTS)
        super().__init__(self.client)

    def submit_fragile(self, fn: Callable[..., Any], /, *args: Any) -> Callable[[float], Any]:
        return self.client.options(crash_limit=1).submit(fn, *args).result


#: The peers by name.
PEERS: dict[str, Callable[[], System]] = {
    "ProcessPoolExecutor": lambda: OfExecutor(ProcessPoolExecutor(SLOTS)),
    "multiprocessing.Pool": OfPool,
}

#: A fresh interpreter's way from just before the import to the first result, for each.
FIRST_RESULT = {
    "plait": "import plait\nwith plait.Client(slots=2) as c: c.submit(abs, -1).result(); took()",
    "ProcessPoolExecutor": (
        "from concurrent.futures import ProcessPoolExecutor\n"
        "with ProcessPoolExecutor(2) as c: c.submit(abs, -1).result(); took()"
    ),
    "multiprocessing.Pool": "import multiprocessing\nwith multiprocessing.Pool(2) as c: c.apply(abs, (-1,)); took()",
}
