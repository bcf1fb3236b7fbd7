"""What a measure asks of a system."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from operator import methodcaller
from typing import Any, ClassVar

from bench.tasks import each

#: Processes that run tasks, for each system.
SLOTS = 2


class System(ABC):
    """One of those that are compared, started and warm."""

    #: Needs a smaller count, or a row of the table would take minutes.
    slow: ClassVar[bool] = False
    #: Takes what `submit` returned as an argument; the others are driven level by level.
    takes_handles: ClassVar[bool] = False
    #: Finds the chunks of a `map` itself; the others have them found by hand.
    finds_chunks: ClassVar[bool] = False
    #: A script: from just before the import to the first result, then `took()`. Empty where nobody asks.
    first_result: ClassVar[str] = ""

    #: Starts a call and returns a handle. An attribute, so that nobody pays for a method around its own.
    submit: Callable[..., Any]
    #: Waits for a handle and returns its value, or raises.
    wait: Callable[[Any], Any]

    def gather(self, handles: Sequence[Any]) -> list[Any]:
        """Wait for all of them."""
        return [self.wait(handle) for handle in handles]

    def map(self, fn: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
        """Apply a function to every item, as it is done by default."""
        return self.gather([self.submit(fn, item) for item in items])

    def map_chunks(self, fn: Callable[[Any], Any], items: Sequence[Any], chunk: int) -> Iterable[Any]:
        """Apply a function to every item, in chunks of a size found by hand: in its own way where it has one."""
        starts = range(0, len(items), chunk)
        chunks = self.gather([self.submit(each, fn, items[start : start + chunk]) for start in starts])
        return itertools.chain.from_iterable(chunks)

    def share(self, value: Any) -> Any:
        """Prepare a value that many tasks will get: what comes back is given to `submit`."""
        return value

    def broadcast(self, fn: Callable[[Any], Any], value: Any, times: int) -> list[Any]:
        """Give the same value to many tasks."""
        shared = self.share(value)
        return self.gather([self.submit(fn, shared) for _ in range(times)])

    def submit_fragile(self, fn: Callable[..., Any], /) -> Any:
        """Start a call that is not tried again when it kills its process."""
        return self.submit(fn)

    def recover(self) -> None:  # noqa: B027 - most need nothing
        """Do what a user must do after a process of the pool has died."""

    @abstractmethod
    def close(self) -> None:
        """End every process."""


class OfExecutor(System):
    """A `concurrent.futures.Executor`."""

    wait = staticmethod(methodcaller("result"))

    def __init__(self) -> None:
        self.recover()

    @abstractmethod
    def executor(self) -> Executor:
        """Make one."""

    def recover(self) -> None:
        self.pool = self.executor()
        self.submit = self.pool.submit

    def map(self, fn: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
        return self.pool.map(fn, items)

    def close(self) -> None:
        self.pool.shutdown()
