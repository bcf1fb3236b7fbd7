"""What all views of one client share: the native runtime, its session, functions, options; and how it ends."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

from plait import _config
from plait._dispatch import Dispatcher
from plait._errors import DependencyFailed, ResultTooLarge, SerializationError, told
from plait._functions import Functions
from plait._future import CANCELLED, Future
from plait._serialize import dump_call, dump_value, too_large

if TYPE_CHECKING:
    from collections.abc import Callable

    from plait._native import Runtime, Session
    from plait._options import Options


class Core:
    """One client's session and the runtime behind it.

    Args:
        runtime: The native runtime, just started.
        slots: Its own slots; 0 if there are none.
        elsewhere: Whether workers may come that are not its own.

    Attributes:
        closed: Whether nothing can be submitted any more.
        ended: Whether the runtime was ended too.
    """

    def __init__(self, runtime: Runtime, slots: int, *, elsewhere: bool) -> None:
        self.runtime = runtime
        self.session = runtime.session()
        self.dispatcher = Dispatcher(self.session)
        self.pid = os.getpid()
        self.closed = self.ended = False
        self._slots = slots
        self._elsewhere = elsewhere
        self._slots_asked = 0.0
        self._functions: dict[Any, Functions] = {}
        _open.add(self)

    def functions(self, options: Options) -> Functions:
        """Return the session's functions for these options' `retry_on`."""
        given = options.given.get("retry_on")
        return self._functions.setdefault(given, Functions(self.session, given))

    def define_options(self, options: Options) -> int:
        """Make options known to the session; equal ones have the same number."""
        return self.session.define_options(
            options.cpus,
            list(options.resources),
            options.retries,
            options.crash_limit,
            options.priority,
            options.label,
        )

    def slots(self) -> int:
        """Return the slots of all workers, at least 1: known, or asked for once a second."""
        if self._elsewhere and (now := time.monotonic()) - self._slots_asked > 1.0:
            workers = self.session.workers(1.0)
            self._slots_asked = now
            self._slots = sum(row[1] for row in workers) if workers else self._slots
        return max(1, self._slots)

    # How it ends.

    def finish(self, wait_seconds: float | None = None) -> None:
        """Let what is pending end, then end the runtime, even one to be ended later. Ctrl-C cancels the rest."""
        if self.ended:
            return
        self.session.close_when_done()
        try:
            self.session.wait_idle(wait_seconds)
        except KeyboardInterrupt as stop:
            self.stop()
            stop.add_note("plait: cancelled what was still pending in a client that was being shut down")
            raise
        self.stop()

    def stop(self) -> None:
        """Cancel what is pending and end the runtime now."""
        self.closed = self.ended = True
        _open.discard(self)
        self.session.close_now()
        self.runtime.shutdown(_config.SHUTDOWN_TIMEOUT_SECONDS)
        self.dispatcher.join(_config.SHUTDOWN_TIMEOUT_SECONDS)

    def finish_later(self) -> None:
        """Do as `finish` in a thread of its own; the end of the process waits for it."""
        if self.closed:
            return
        self.closed = True
        _open.discard(self)
        self.session.close_when_done()
        Closer(self.runtime, self.session, self.dispatcher).start()

    def __del__(self) -> None:
        """Nobody can ask any more: what was submitted still runs, as with the standard library's executors."""
        if not self.closed and self.pid == os.getpid() and not sys.is_finalizing():
            self.finish_later()


class Closer:
    """Ends a runtime that nobody holds any more, once its work is done."""

    def __init__(self, runtime: Runtime, session: Session, dispatcher: Dispatcher) -> None:
        self.runtime = runtime
        self.session = session
        self.dispatcher = dispatcher
        self.thread = threading.Thread(target=self._run, name="plait-closer", daemon=True)

    def start(self) -> None:
        """Begin, unless the process is about to end and takes no new threads."""
        _closers.add(self)
        try:
            self.thread.start()
        except RuntimeError:
            self._run()

    def finish(self) -> None:
        """Wait for the end of it; Ctrl-C cancels the rest."""
        try:
            self.session.wait_idle()
        finally:
            self.session.close_now()
            self.runtime.shutdown(_config.SHUTDOWN_TIMEOUT_SECONDS)
            self.dispatcher.join(_config.SHUTDOWN_TIMEOUT_SECONDS)

    def _run(self) -> None:
        self.finish()
        _closers.discard(self)


# Submitting.


def submit_call(core: Core, function: int, options: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
    """Submit a call with whatever among its arguments: futures, big arrays, objects of `__main__`."""
    try:
        segments, inputs = dump_call(args, kwargs)
    except SerializationError as error:
        return Future(core, (error.with_traceback(None), None))  # how plait came there says nothing more
    failed = failure_among(core, inputs)
    if failed is not None:
        return Future(core, (failed, None))
    future: Future[Any] = Future(core)
    try:
        core.session.submit(future, function, options, segments, inputs)
    except SerializationError as refused:
        return Future(core, (too_large(refused, args, kwargs), None))
    return future


def put_value(core: Core, value: Any) -> Future[Any]:
    """Put a value where the tasks of this client can have it."""
    future: Future[Any] = Future(core)
    try:
        core.session.put(future, dump_value(value, "value"))
    except (SerializationError, ResultTooLarge) as refused:
        return Future(core, (refused.with_traceback(None), None))
    return future


def failure_among(core: Core, inputs: list[Future[Any]]) -> DependencyFailed | None:
    """Look at the futures among arguments: return why the task that needs them cannot be done, if it cannot.

    Raises:
        ValueError: If one of them belongs to another client.
    """
    for future in inputs:
        if future._owner is not core:
            raise ValueError("a future of another Client cannot be an argument: pass its result")
        end, number = future._end, future._seq
        if end is CANCELLED or number is None:
            error = DependencyFailed(f"a future among the arguments {_how(end)}", task=number)
            error.__cause__ = end[0] if end else None
            return error
    return None


def _how(end: tuple[BaseException | None, Any] | None) -> str:
    if end is CANCELLED or end is None or end[0] is None:
        return "was cancelled"
    return f"failed: {told(end[0])}"


# The end of the process.

#: Clients that were not shut down.
_open: weakref.WeakSet[Core] = weakref.WeakSet()
#: Runtimes whose clients are gone and whose work is not.
_closers: set[Closer] = set()


def _close_all() -> None:
    """Wait for pending work, as the standard library does; after an unhandled Ctrl-C cancel it."""
    interrupted = getattr(sys, "last_type", None) is KeyboardInterrupt
    for core in list(_open):
        if core.pid == os.getpid():
            core.stop() if interrupted else core.finish()
    for closer in list(_closers):
        closer.finish()


def _after_fork_in_child() -> None:
    """Forget what the parent's threads serve."""
    _open.clear()
    _closers.clear()


def at_fork(callback: Callable[[], object]) -> None:
    """Call something in every forked child, before anything else runs there."""
    os.register_at_fork(after_in_child=callback)


atexit.register(_close_all)
at_fork(_after_fork_in_child)
