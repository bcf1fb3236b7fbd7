"""`Client`: an executor over every core of this machine, or over a cluster."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, TypeVar

from plait import _config, _native
from plait._context import refuse_in_executor
from plait._core import Core, at_fork, put_value, submit_call
from plait._errors import ConnectError, CoordinatorLost, SerializationError
from plait._future import Future
from plait._map import Results
from plait._options import Options, whole
from plait._run import run_combined, run_listed, run_reduced
from plait._types import WorkerInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import EllipsisType, TracebackType

    from plait._progress import Progress

T = TypeVar("T")
ClientT = TypeVar("ClientT", bound="Client")


class Client(Executor):
    """Runs functions on all cores of this machine, or on a cluster.

    Without an address (and without `PLAIT_ADDRESS`) it is embedded: coordinator and worker live in this process, only
    the executors are processes of their own, and nothing is left behind when it ends.

    Args:
        address: A join line (`plait1c-…@host:8000`) or a file that holds one.
        slots: Tasks at once when embedded; by default the cpus that this process may use. Beats `PLAIT_ADDRESS`.
        listen: `host:port` on which `plait worker` may join this embedded client. Beats `PLAIT_ADDRESS`.
        name: What people see of this client.

    Raises:
        ConnectError: When no coordinator can be reached, or the address is none.
        AuthError: When the coordinator refuses the key, or is another one.
        VersionMismatch: When it speaks another protocol.
        TypeError: When an argument is of the wrong type.
        ValueError: When an argument is out of range, or an address comes with `slots` or `listen`.

    Example:
        >>> import plait
        >>> with plait.Client(slots=2) as client:
        ...     list(client.map(abs, [-1, -2]))
        [1, 2]
    """

    _core: Core
    _options: Options
    _option_number: int

    def __init__(
        self,
        address: str | os.PathLike[str] | None = None,
        *,
        slots: int | None = None,
        listen: str | None = None,
        name: str | None = None,
    ) -> None:
        refuse_in_executor()
        if address is not None and (slots is not None or listen is not None):
            raise ValueError("an address names a cluster: it goes with neither slots= nor listen=")
        if slots is not None:
            slots = whole("slots", slots, 0)
            if slots == 0 and listen is None:
                raise ValueError("slots=0 leaves nobody to work: it needs listen=, so that workers can join")
        if listen is not None and not isinstance(listen, str):
            raise TypeError(f"listen must be a string such as '127.0.0.1:8000', not {listen!r}")
        label = name if name is not None else f"{os.uname().nodename}:{os.getpid()}"
        if address is None and slots is None and listen is None:
            address = _config.address()
        if address is not None:
            self._core = _connect(os.fsdecode(address), label)
        else:
            self._core = _embed(_config.slots() if slots is None else slots, listen, label)
        self._set_options(Options())

    def _set_options(self, options: Options) -> None:
        self._options = options
        self._option_number = self._core.define_options(options)
        self._functions = self._core.functions(options)
        session, known = self._core.session, self._functions.known
        self._submit_plain = session.submitter(self._option_number, known, Future, self._core).submit

    def options(self, **options: Any) -> Client:
        """Return a view of this client whose tasks have other options; it is an Executor too.

        Args:
            **options: `cpus` (slots a task takes, 1), `resources` (named amounts), `retries` (of exceptions, 0),
                `retry_on` (which, Exception), `crash_limit` (executors a task may kill, 3), `priority` (larger runs
                earlier, 0), `label`, `ordered` (whether `map` keeps the order, True), `errors` ("raise", "return" or
                "skip").

        Raises:
            TypeError: If there is no such option, or a value is of the wrong type.
            ValueError: If a value is out of range.

        Example:
            >>> import plait
            >>> with plait.Client(slots=2) as client:
            ...     client.options(retries=3, priority=1).submit(abs, -1).result()
            1
        """
        view = Client.__new__(type(self))
        view.__dict__.update(self.__dict__)  # a subclass's own attributes too
        view._set_options(self._options.merged(options))
        return view

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run `fn(*args, **kwargs)` on a worker.

        Futures among the arguments, however deeply nested, are dependencies: their values go straight to the task.
        Waits while more is pending than the coordinator may hold.

        Args:
            fn: What to call.
            *args: Its arguments.
            **kwargs: Its keyword arguments.

        Returns:
            The future. A function or an argument that cannot be pickled, or is larger than the coordinator takes, is
            its `SerializationError`.

        Raises:
            TypeError: If `fn` is not callable.
            RuntimeError: After `shutdown`.
            CoordinatorLost: When the coordinator is lost for good.

        Example:
            >>> import plait
            >>> with plait.Client(slots=2) as client:
            ...     client.submit(divmod, 7, 2).result()
            (3, 1)
        """
        return self._submit_plain(fn, args, kwargs) or self._submit_any(fn, args, kwargs)

    def _submit_any(self, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[T]:
        """Submit whatever there is to submit."""
        try:
            entry = self._functions.find(fn)
        except SerializationError as error:
            return Future(self._core, (error.with_traceback(None), None))
        options = (
            self._option_number if entry.pins is None else self._core.define_options(self._options.over(entry.pins))
        )
        return submit_call(self._core, entry.number, options, args, kwargs)

    def put(self, value: T) -> Future[T]:
        """Keep a value where every task can have it: pickled and stored once, however many tasks it is given to.

        On one machine large arrays in it are not copied to the tasks: they map the same memory, and what a task writes
        to them stays with that task. The value is kept as it is now; later changes are not seen.

        Args:
            value: Anything that can be pickled; futures in it are not.

        Returns:
            A future that is done: give it to tasks as an argument. Once it is dropped, the value goes with the last
            task that needs it. A value that cannot be pickled is its `SerializationError`, one larger than may be held
            its `ResultTooLarge`.

        Raises:
            RuntimeError: After `shutdown`.
            CoordinatorLost: When the coordinator is lost for good.

        Example:
            >>> import plait
            >>> with plait.Client(slots=2) as client:
            ...     table = client.put(list(range(1_000)))
            ...     sum(future.result() for future in [client.submit(sum, table) for _ in range(3)])
            1498500
        """
        return put_value(self._core, value)

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
    ) -> Results[T]:
        """Apply a function to every item, through a window that is bounded: endless iterables are fine.

        The iterables are read in the caller's thread: the first window now, the rest as results are taken. Where
        that takes long, no more is read once there is a result to give. Leaving the loop cancels what is left.

        An item is pickled when it is sent, which may be long after the call: a change that is made to it before that
        is seen. Items that go in one message are pickled together: what several of them hold is one object there, and
        what a call changes of it, later ones see. With `chunksize=1` each item has its own. A call that is tried again
        (`retries`) gets its item as it was sent.

        Args:
            fn: What to call: with one item of each iterable.
            *iterables: The items; the shortest one ends it.
            timeout: Seconds from now until `TimeoutError`.
            chunksize: Items a message at the most; None lets plait choose.
            buffersize: Items on the way; None lets plait size the window: four chunks a slot, at most 64 MiB.

        Returns:
            An iterator over the results, in order unless `options(ordered=False)`; with `options(errors="return")` over
            `Outcome`s.

        Raises:
            TypeError: If `fn` is not callable, an iterable is none, or a number is none.
            ValueError: If a number is below 1.

        Example:
            >>> import plait
            >>> with plait.Client(slots=2) as client:
            ...     list(client.map(pow, [2, 3], [5, 2]))
            [32, 9]
        """
        entry = self._functions.find(fn)
        if chunksize is not None:
            chunksize = whole("chunksize", chunksize, 1)
        if buffersize is not None:
            buffersize = whole("buffersize", buffersize, 1)
        options = self._options.over(entry.pins)
        return Results(self._core, entry, options, iterables, timeout, chunksize, buffersize)

    def run(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        combine: Callable[[list[Any]], Any] | None = None,
        reduce: Callable[[Any, Any], Any] | None = None,
        initial: Any | EllipsisType = ...,
        progress: Progress = None,
    ) -> Any:
        """Apply a function to every item and bring the results together, on the workers.

        Args:
            fn: What to call: with one item of each iterable.
            *iterables: The items; the shortest one ends it. They are read in the caller's thread.
            combine: Called once, on a worker, with the list of all results in order.
            reduce: Merges two neighbouring results; associative. Folded on the workers, in order: those of a chunk
                of items where they were made, without being pickled in between.
            initial: With `reduce`: folded once, leftmost.
            progress: None shows a bar on stderr if that is a terminal; True and False force it; a callable gets
                `(done, total)` in this thread, `total` being None while it is not known.

        Returns:
            What `combine` returned, what `reduce` came to, or the list of all results.

        Raises:
            ValueError: If `combine` and `reduce` are both given, or `reduce` with `errors="return"`.
            TypeError: If something is not callable; if there is nothing to reduce and no `initial`.
            Exception: With `errors="raise"`, that of the lowest failed item known; the rest is cancelled.

        Example:
            >>> import operator, plait
            >>> with plait.Client(slots=2) as client:
            ...     client.run(abs, range(-3, 0), reduce=operator.add)
            6
        """
        if combine is not None and reduce is not None:
            raise ValueError("combine and reduce are two ways to finish a run: give one of them")
        if initial is not ... and reduce is None:
            raise ValueError("initial goes with reduce")
        entry = self._functions.find(fn)
        options = self._options.over(entry.pins)
        if reduce is not None:
            if options.errors == "return":
                raise ValueError('errors="return" gives outcomes, which cannot be reduced: use combine')
            return run_reduced(self._core, entry, self._functions.find(reduce), options, iterables, initial, progress)
        if combine is not None:
            return run_combined(self._core, entry, self._functions.find(combine), options, iterables, progress)
        return run_listed(self._core, entry, options, iterables, progress)

    def workers(self) -> list[WorkerInfo]:
        """Return every worker that is there.

        Raises:
            RuntimeError: After `shutdown`.
            CoordinatorLost: If the coordinator does not answer within 10 s, or is lost for good.
        """
        asked = time.monotonic()
        rows = self._core.session.workers(_config.STATUS_TIMEOUT_SECONDS)
        if rows is not None:
            return [WorkerInfo(*row) for row in rows]
        if self._core.closed:
            raise RuntimeError("cannot ask for workers after shutdown")
        if time.monotonic() - asked < _config.STATUS_TIMEOUT_SECONDS:
            raise CoordinatorLost("the coordinator is lost: nothing can be asked any more")
        raise CoordinatorLost(f"the coordinator did not answer within {_config.STATUS_TIMEOUT_SECONDS:.0f} s")

    @property
    def join_line(self) -> str | None:
        """What `plait worker` takes to join this client; None without `listen`."""
        return self._core.runtime.worker_line()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - the standard
        """End this client and all its views; nothing can be submitted afterwards.

        Args:
            wait: Return when everything pending is over and every executor is gone; else that happens by itself.
            cancel_futures: Cancel what has not begun.
        """
        core = self._core
        if cancel_futures and not core.ended:
            core.session.cancel_all_pending()
        if wait:
            core.finish()
        else:
            core.finish_later()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for what is pending; after Ctrl-C cancel it."""
        self._leave(kind, KeyboardInterrupt)

    async def __aenter__(self: ClientT) -> ClientT:
        """Nothing is waited for."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do as `__exit__`, without holding up the event loop; a cancelled coroutine does not wait for its work either.

        To asyncio, Ctrl-C is a cancelled coroutine, and so is a timeout.
        """
        import asyncio

        await asyncio.to_thread(self._leave, kind, (KeyboardInterrupt, asyncio.CancelledError))

    def _leave(
        self, kind: type[BaseException] | None, hurry: type[BaseException] | tuple[type[BaseException], ...]
    ) -> None:
        """Shut down; whoever leaves by an exception in a `hurry` has no use for what is pending."""
        if kind is not None and issubclass(kind, hurry):
            self._core.stop()
        self.shutdown()

    def __reduce__(self) -> tuple[Any, ...]:
        """Refuse: a client belongs to its process."""
        raise TypeError("a plait Client cannot be pickled: it belongs to its process")


def _embed(slots: int, listen: str | None, name: str) -> Core:
    runtime = _native.Runtime.embedded(slots, listen, _config.home(), _config.launch(), name)
    return Core(runtime, slots, elsewhere=listen is not None)


def _connect(address: str, name: str) -> Core:
    try:
        line = _config.read_address(address)
    except OSError:
        shown = address if len(address) <= 24 else f"{address[:16]}…"
        raise ConnectError(
            f"{shown!r} is no address: one looks like plait1c-…-…-…@host:8000 (`plait coordinator` prints it), "
            "or is a file that holds such a line",
            address=shown,
        ) from None
    return Core(_native.Runtime.connect(line, name), 0, elsewhere=True)


# One default client for the module functions.

_default: Client | None = None
#: Reentrant: a signal handler may use plait while its first client is being made.
_default_lock = threading.RLock()


def default_client() -> Client:
    """Return the client of `plait.run` and `plait.map`: made on first use, embedded or on `PLAIT_ADDRESS`."""
    global _default
    refuse_in_executor()
    with _default_lock:
        if _default is None or _default._core.closed:
            _default = Client()
        return _default


def run(
    fn: Callable[..., Any],
    *iterables: Iterable[Any],
    combine: Callable[[list[Any]], Any] | None = None,
    reduce: Callable[[Any, Any], Any] | None = None,
    initial: Any | EllipsisType = ...,
    progress: Progress = None,
) -> Any:
    """Do as `Client.run` with the default client.

    Example:
        >>> import operator, plait
        >>> plait.run(len, ["a", "bc"], reduce=operator.add)
        3
    """
    client = default_client()
    return client.run(fn, *iterables, combine=combine, reduce=reduce, initial=initial, progress=progress)


def map(  # noqa: A001 - the public name
    fn: Callable[..., T],
    *iterables: Iterable[Any],
    timeout: float | None = None,
    chunksize: int | None = None,
    buffersize: int | None = None,
) -> Results[T]:
    """Do as `Client.map` with the default client.

    Example:
        >>> import plait
        >>> list(plait.map(len, ["a", "bc"]))
        [1, 2]
    """
    return default_client().map(fn, *iterables, timeout=timeout, chunksize=chunksize, buffersize=buffersize)


def _after_fork_in_child() -> None:
    global _default, _default_lock
    _native.after_fork_in_child()
    _default = None
    _default_lock = threading.RLock()


at_fork(_after_fork_in_child)
