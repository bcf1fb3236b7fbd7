"""What the pieces of a run with `errors="return"` call: the function, its outcome told as a record."""

from __future__ import annotations

from os import getppid, uname
from time import perf_counter
from types import CoroutineType

from plait._types import Told

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from plait._serialize import RetryOn


def say(told: Told) -> Told:
    """Return what a piece came to before it could be sent; runs in an executor."""
    return told


class Witness:
    """Calls a function and returns an `Outcome`, whatever happens; runs in an executor."""

    __slots__ = ("fn", "retries", "retry_on")

    def __init__(self, fn: Callable[..., Any], retry_on: RetryOn, retries: int) -> None:
        self.fn = fn
        self.retry_on = retry_on
        self.retries = retries

    def __call__(self, *item: Any) -> Told:
        """Call the function for one item, again as often as it may be retried."""
        told = item[0] if len(item) == 1 else item
        began, left = perf_counter(), self.retries
        while True:
            value, error = None, None
            try:
                value = self.fn(*item)
                if type(value) is CoroutineType:
                    value = _awaited(value)
            except KeyboardInterrupt:
                raise  # the piece is to be stopped
            except BaseException as raised:  # noqa: BLE001 - that is what it is for
                error = raised
            if error is None or left == 0 or not isinstance(error, self.retry_on):
                break
            left -= 1
        return Told(told, value, error, perf_counter() - began, f"{uname().nodename}:{getppid()}")

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by fields."""
        return (Witness, (self.fn, self.retry_on, self.retries))


def _awaited(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Wait for what an `async def` returned."""
    import asyncio

    return asyncio.run(coroutine)
