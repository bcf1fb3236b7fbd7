"""`Future`: a `concurrent.futures.Future` that costs next to nothing until somebody looks at it.

The standard library's `__init__` is not run: it takes 4.5 µs and 1.6 kB, more than a whole task may. Task and end are
in the native half of the object, which also answers what is asked of every future: a plain value that is there. A
result is waited for in the thread that asks. What `concurrent.futures.wait`, `as_completed` and callbacks need
(`_condition`, `_waiters`, `_state`, `_done_callbacks`) comes into being when they touch it; from then on the dispatcher
announces the end, and no value is loaded for that: only who asks for one has it here.
"""

from __future__ import annotations

import os
import threading
from _pickle import loads
from concurrent.futures import CancelledError, InvalidStateError
from concurrent.futures import Future as StandardFuture
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED, LOGGER, PENDING
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from plait._errors import SerializationError, error_from, told
from plait._native import FutureBase
from plait._serialize import load_error, load_value, placeholder
from plait._types import TaskInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from plait._dispatch import Dispatcher
    from plait._errors import RawOutcome

T = TypeVar("T")


class Owner(Protocol):
    """What a future keeps alive: the client's core."""

    dispatcher: Dispatcher


#: What a future has come to: an exception (or None) and a value.
End = tuple[BaseException | None, Any]
#: How a task went: attempts, worker, microseconds of the last attempt and in all.
Story = tuple[int, str | None, int, int] | None
#: The end of every cancelled future.
CANCELLED: End = (CancelledError(), None)

_DONE = (CANCELLED_AND_NOTIFIED, FINISHED)
#: The standard library's name for what `_verdict` says.
_STATES = {None: PENDING, "cancelled": CANCELLED_AND_NOTIFIED, "value": FINISHED, "failed": FINISHED}
#: Where asyncio's callbacks are from.
_ASYNCIO = "asyncio.futures"
#: Numbers from here on are those of tasks that the coordinator made.
_INTERNAL = 1 << 63
#: Guards every `_shared`; held for a few instructions only. Reentrant: a signal handler or a `__del__` that strikes in
#: the midst of them may use futures too.
_lock = threading.RLock()
#: One entry for each thread that is loading what a future came to while it holds that future's condition.
_busy_holders: list[None] = []


def holders_are_busy() -> bool:
    """Whether a thread that holds what is to be announced may be loading something: it lets go later."""
    return bool(_busy_holders)


def _call(callback: Callable[[Any], object], future: Future[Any]) -> None:
    try:
        callback(future)
    except Exception:  # noqa: BLE001 - as the standard library does
        LOGGER.exception("exception calling callback for %r", future)


class Future(FutureBase, StandardFuture[T]):
    """The outcome of one task, now or later; made by `submit`.

    It can be waited for, awaited, given to `concurrent.futures.wait` and `as_completed`, and given as an argument to
    other tasks, however deeply nested: its value then goes straight there.

    Example:
        >>> import plait
        >>> with plait.Client(slots=2) as client:
        ...     client.submit(pow, client.submit(pow, 2, 3), 2).result()
        64
    """

    __slots__ = ()

    #: Of its own only once somebody watches.
    _shared: _Shared | None = None

    if TYPE_CHECKING:
        _owner: Owner
        _end: End | None

        def result(self, timeout: float | None = None) -> T:
            """See `FutureBase.result`."""

        def _keep(self, end: End) -> End:
            """See `FutureBase._keep`."""

    def __init__(self, owner: Owner, end: End | None = None) -> None:
        """Make the future of a task to be submitted, or one that has ended already: plait's own business."""

    def _result_of_any(self, timeout: float | None) -> T:
        """Do as `result`, whatever the task came to."""
        error, value = self._end or self._settle(timeout)
        if error is None:
            returned: T = value
            return returned
        try:
            raise CancelledError if self._end is CANCELLED else error
        finally:
            del self, error  # else the traceback, this frame and the exception hold each other

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the task and return its exception, or None if it has a value.

        Args:
            timeout: How long to wait, in seconds; None for as long as it takes, 0 for a mere look.

        Raises:
            TimeoutError: When the time is up.
            CancelledError: When it was cancelled.
        """
        end = self._end
        if end is None:
            # The library's `wait` asks for exceptions while it holds all conditions; it waits for the end alone.
            if self._is_held_here() and self._look() == "value":
                return None
            end = self._settle(timeout)
        if end is CANCELLED:
            raise CancelledError
        return end[0]

    def running(self) -> bool:
        """Whether the task is known to run; that takes a moment to be heard."""
        return self._end is None and self._whereabouts() == "running"

    def cancelled(self) -> bool:
        """Whether the task was cancelled."""
        return self._verdict() == "cancelled"

    def cancel(self, *, running: bool = False) -> bool:
        """Cancel the task unless it runs or is over; answered at once, whatever comes later is dropped.

        Args:
            running: Also stop it if it runs: by SIGINT, then SIGTERM, then SIGKILL.

        Returns:
            Whether it is cancelled now.
        """
        if (verdict := self._verdict()) is not None:
            return verdict == "cancelled"
        if not running and self._whereabouts() == "running":
            return False
        with _lock:
            shared = self._shared
            if shared is not None and shared.state in _DONE:  # its end has come meanwhile, and others were told of it
                return shared.state == CANCELLED_AND_NOTIFIED
            if self._keep(CANCELLED) is not CANCELLED:
                return False
        if running:
            self._cancel_running()
        else:
            self._cancel_pending()
        self._announce()
        return True

    def add_done_callback(self, fn: Callable[[Future[T]], object]) -> None:
        """Call `fn(self)` once the task is over: in plait's dispatcher thread, or here if it is over already."""
        shared = self._share()
        # asyncio asks for the outcome in the thread of its loop, which must not wait for it to be loaded.
        loads = self._end is None and getattr(fn, "__module__", None) == _ASYNCIO
        with shared.condition:
            over = shared.state in _DONE
            if loads or not over:
                shared.callbacks += [Future._load, fn] if loads else [fn]
        if not over:
            return
        if loads:
            self._owner.dispatcher.call_soon(self)
        else:
            _call(fn, self)

    def __await__(self) -> Generator[Any, None, T]:
        """Wait in asyncio, without a thread of its own."""
        import asyncio

        return asyncio.wrap_future(self).__await__()

    @property
    def info(self) -> TaskInfo:
        """How the task went so far: state, attempts, worker, times."""
        verdict = self._verdict()
        state = "pending" if verdict is None else "cancelled" if verdict == "cancelled" else "finished"
        if state == "pending" and self.running():
            state = "running"
        story = self._story()
        if story is None:
            return TaskInfo(state)
        attempts, worker, run_micros, total_micros = story
        return TaskInfo(state, attempts, worker, run_micros / 1e6, total_micros / 1e6)

    def set_running_or_notify_cancel(self) -> bool:
        """Refuse: only plait settles its futures."""
        raise InvalidStateError("only plait settles its futures")

    def set_result(self, result: T) -> None:
        """Refuse: only plait settles its futures."""
        raise InvalidStateError("only plait settles its futures")

    def set_exception(self, exception: BaseException | None) -> None:
        """Refuse: only plait settles its futures."""
        raise InvalidStateError("only plait settles its futures")

    def __reduce_ex__(self, _protocol: Any) -> tuple[Any, ...]:
        """Become a placeholder among the arguments of a task; anywhere else a future does not pickle."""
        return placeholder(self)

    def __repr__(self) -> str:
        """Show which task it is, and how it is doing."""
        number = "" if self._seq is None else f" task={self._seq}"
        try:
            state = self.info.state
        except Exception as error:  # noqa: BLE001 - showing a future of a parent process must not fail
            state = f"unreachable ({error})"
        return f"<Future at {id(self):#x}{number} state={state}>"

    # What the standard library touches.

    @property
    def _condition(self) -> threading.Condition:  # type: ignore[override]
        return self._share().condition

    @property
    def _waiters(self) -> list[Any]:  # type: ignore[override]
        return self._share().waiters

    @property
    def _done_callbacks(self) -> list[Any]:
        return self._share().callbacks

    @property
    def _state(self) -> str:  # type: ignore[override]
        return self._share().state

    # Plait's own.

    def _verdict(self) -> str | None:
        """Tell how it ended: "value", "cancelled" or "failed"; None if it has not.

        A value stays where it is: all that are waited for together may be more than this process has memory for.
        """
        end = self._end
        if end is None:
            if (verdict := self._look()) is not None or not self.done():
                return verdict
            end = self._end or self._settle(0.0)  # another thread is just taking it
        return "cancelled" if end is CANCELLED else "value" if end[0] is None else "failed"

    def _load(self) -> None:
        """Load what it came to, now that it is over."""
        if self._end is None:
            self._settle(0.0)

    def _settle(self, timeout: float | None) -> End:
        """Wait for the outcome and load it."""
        if self._is_held_here():
            _busy_holders.append(None)
            try:
                return self._settle_now(timeout)
            finally:
                _busy_holders.pop()
        return self._settle_now(timeout)

    def _settle_now(self, timeout: float | None) -> End:
        try:
            outcome = self._take(timeout)
        except KeyboardInterrupt as stop:
            self.cancel(running=True)
            stop.add_note(f"plait: cancelled task {self._seq}, whose result was being waited for")
            raise
        if outcome is None:
            raise TimeoutError(f"task {self._seq} is not over")
        settled = self._keep(end_of(outcome, self._seq, self._story))
        self._forget_outcome()
        return settled

    def _is_held_here(self) -> bool:
        """Whether this thread holds the condition."""
        shared = self._shared
        return shared is not None and shared.condition._is_owned()  # type: ignore[attr-defined]  # as the library itself asks

    def _share(self) -> _Shared:
        """Make what the standard library needs, and have the end announced there."""
        if self._end is None:
            self._whereabouts()  # raises in a forked child, where nobody would ever announce anything
        shared = self._shared
        if shared is None:
            verdict = self._verdict()
            with _lock:
                shared = self._made()
                if shared is None:
                    shared = self._shared = _Shared(_STATES["cancelled" if self._end is CANCELLED else verdict])
        # Perhaps whoever made it was interrupted here: another time does no harm.
        if not shared.watched:
            if shared.state == PENDING and not self._owner.dispatcher.watch(self):
                self._announce()
            shared.watched = True
        return shared

    def _made(self) -> _Shared | None:
        """Look again, under the lock: another thread may have been here."""
        return self._shared

    def _announce(self, call: Callable[[Callable[[Any], object], Future[Any]], None] = _call) -> None:
        """Tell waiters and callbacks that the task is over; once. `call` calls a callback."""
        self._announce_within(-1.0, call)

    def _announce_within(self, seconds: float, call: Callable[[Callable[[Any], object], Future[Any]], None]) -> bool:
        """Announce it once nobody holds the condition; False if somebody does for so long."""
        shared = self._shared
        if shared is None:
            return True
        if not shared.condition.acquire(timeout=seconds):
            return False
        try:
            callbacks = self._tell(shared)
            shared.condition.notify_all()
        finally:
            shared.condition.release()
        for callback in callbacks:
            call(callback, self)
        return True

    def _announce_anyway(self, call: Callable[[Callable[[Any], object], Future[Any]], None]) -> None:
        """Announce it although somebody holds the condition: a thread that was interrupted and never lets go."""
        if (shared := self._shared) is not None:
            for callback in self._tell(shared):
                call(callback, self)

    def _tell(self, shared: _Shared) -> list[Callable[[Any], object]]:
        """Tell the waiters; returns the callbacks that are to be called."""
        if shared.state not in _DONE:
            self._tell_waiters(shared)
        callbacks, shared.callbacks = shared.callbacks, []
        return callbacks

    def _tell_waiters(self, shared: _Shared) -> None:
        verdict = self._verdict()
        with _lock:
            if self._end is CANCELLED:
                verdict = "cancelled"
            shared.state = CANCELLED_AND_NOTIFIED if verdict == "cancelled" else FINISHED
        for waiter in shared.waiters:
            if verdict == "cancelled":
                waiter.add_cancelled(self)
            elif verdict == "failed":
                waiter.add_exception(self)
            else:
                waiter.add_result(self)


class _Shared:
    """What a future has that other threads watch."""

    __slots__ = ("callbacks", "condition", "state", "waiters", "watched")

    def __init__(self, state: str) -> None:
        #: Whether the end will be announced, or is here.
        self.watched = False
        self.condition = threading.Condition()
        self.waiters: list[Any] = []
        self.callbacks: list[Callable[[Any], object]] = []
        self.state = state


def end_of(outcome: RawOutcome | bytes, number: int | None, story: Callable[[], Story]) -> End:
    """Load what a task of this number came to; `story` tells how it went, for a note."""
    if isinstance(outcome, bytes) or outcome[0] == "value":
        try:
            return (None, loads(outcome) if isinstance(outcome, bytes) else load_value(outcome[1]))
        except KeyboardInterrupt:
            raise  # Ctrl-C while it was unpickled; it can be asked for again
        except BaseException as error:  # noqa: BLE001 - the user's class may raise anything
            return (not_loadable(error), None)
    if outcome[0] == "cancelled":
        return CANCELLED
    return (error_from(outcome, load_error, note_of(number, story())), None)


def not_loadable(error: BaseException) -> SerializationError:
    """Return the error of a value that arrived and cannot be unpickled here."""
    reason = told(error)
    failure = SerializationError(f"the result cannot be unpickled here: {reason}", path="result", reason=reason)
    failure.__cause__ = error
    return failure


def note_of(number: int | None, story: Story) -> str:
    """Say which task, attempt and host it was, and how long it ran."""
    name = number if number is None or number < _INTERNAL else f"i{number - _INTERNAL}"
    if story is None or story[0] == 0:
        return f"plait: task {name}"
    attempts, worker, run_micros, _ = story
    where = worker or "an unknown worker"
    return f"plait: task {name}, attempt {attempts}, on {where}, ran {run_micros / 1e6:.3f} s"


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.RLock()
    _busy_holders.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)
