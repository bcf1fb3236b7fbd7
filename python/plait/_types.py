"""Plain records that users see."""

from __future__ import annotations

from plait._errors import RemoteTraceback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Outcome:
    """What became of one item of a `map` or `run` with `errors="return"`.

    Attributes:
        item: The item; a tuple of them where several iterables were given. In a `combine`, None where it cannot be had:
            an item that cannot be pickled or unpickled, and a future in the item of a piece that failed otherwise
            than by its function.
        value: What the function returned; None if it failed.
        error: The exception, or None.
        seconds: How long it ran, in seconds; 0.0 if it never did.
        worker: The name of the worker that ran it, or None if it never ran.

    Example:
        >>> from plait import Outcome
        >>> Outcome(3, 9, None, 0.5, "host:17").ok
        True
    """

    __slots__ = ("error", "item", "seconds", "value", "worker")

    def __init__(
        self, item: Any, value: Any, error: BaseException | None, seconds: float = 0.0, worker: str | None = None
    ) -> None:
        self.item = item
        self.value = value
        self.error = error
        self.seconds = seconds
        self.worker = worker

    @property
    def ok(self) -> bool:
        """Whether there is a value."""
        return self.error is None

    def __repr__(self) -> str:
        """Show what came out, and where."""
        came = f"value={self.value!r}" if self.error is None else f"error={self.error!r}"
        return f"Outcome(item={self.item!r}, {came}, seconds={self.seconds:.6f}, worker={self.worker!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by fields; with the error goes its remote traceback, which exceptions do not take along."""
        cause = None if self.error is None else self.error.__cause__
        trace = cause if isinstance(cause, RemoteTraceback) else None
        return (_outcome, (self.item, self.value, self.error, self.seconds, self.worker, trace))


def _outcome(
    item: Any,
    value: Any,
    error: BaseException | None,
    seconds: float,
    worker: str | None,
    trace: RemoteTraceback | None,
) -> Outcome:
    """Unpickle an `Outcome`."""
    if error is not None and trace is not None:
        BaseException.__setattr__(error, "__cause__", trace)
    return Outcome(item, value, error, seconds, worker)


class TaskInfo:
    """How a task went: `future.info`.

    Attributes:
        state: `"pending"`, `"running"`, `"cancelled"` or `"finished"`.
        attempts: How many times it was started, so far as the client knows.
        worker: The name of the worker that ran it last, or None.
        run_seconds: How long the last attempt ran, in seconds.
        total_seconds: From the coordinator's acceptance to the end, in seconds.
    """

    __slots__ = ("attempts", "run_seconds", "state", "total_seconds", "worker")

    def __init__(
        self,
        state: str,
        attempts: int = 0,
        worker: str | None = None,
        run_seconds: float = 0.0,
        total_seconds: float = 0.0,
    ) -> None:
        self.state = state
        self.attempts = attempts
        self.worker = worker
        self.run_seconds = run_seconds
        self.total_seconds = total_seconds

    def __repr__(self) -> str:
        """Show all fields."""
        return f"TaskInfo({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__slots__)})"


class WorkerInfo:
    """One worker, as `client.workers()` tells it.

    Attributes:
        name: Its name for people: host and process id.
        slots: How many tasks it runs at once.
        resources: Its named resources, as text (`gpu=2`).
        running: Tasks that run there.
        queued: Tasks that wait there.
        state: `"live"`, `"suspected"` or `"draining"`.
        python: The version of its Python (`3.11`).
    """

    __slots__ = ("name", "python", "queued", "resources", "running", "slots", "state")

    def __init__(
        self, name: str, slots: int, resources: str, running: int, queued: int, state: str, python: str
    ) -> None:
        self.name = name
        self.slots = slots
        self.resources = resources
        self.running = running
        self.queued = queued
        self.state = state
        self.python = python

    def __repr__(self) -> str:
        """Show all fields."""
        return f"WorkerInfo({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__slots__)})"
