"""The main program of an executor: takes orders from its worker and runs the user's functions, one at a time.

It imports as little as it can, and what it does per task is counted in microseconds. Whatever a task changed of the
working directory, the environment or the signal mask is put back; its threads, globals and descriptors are left alone.
"""

from __future__ import annotations

import _signal
import os
import sys
from itertools import islice, starmap
from time import perf_counter

from plait import _context
from plait._errors import DependencyFailed, SerializationError, error_from, told
from plait._native import ExecutorChannel, after_fork_in_child
from plait._serialize import (
    APART,
    BRIEF,
    BRIEF_SECONDS,
    FIRST,
    TIMED,
    TOLD,
    TUPLES,
    Resolving,
    calls_users,
    dump_error,
    dump_value,
    is_plain,
    kind_of,
    load_call,
    load_error,
    load_function,
    load_given,
    load_items,
    load_packed,
    load_parts,
    load_value,
    own_buffers,
    pack_item,
    repack,
)
from plait._types import Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
    from types import FrameType
    from typing import Any, Protocol, TypeAlias

    from plait._errors import RawOutcome, Segments

    #: A function with its `retry_on`.
    Loaded: TypeAlias = tuple[Callable[..., Any], Any]
    #: How a task ended and what it has to say: a number for `ExecutorChannel.finish`, and segments.
    Ending: TypeAlias = tuple[int, Any]

    class Claims(Protocol):
        """Items that are claimed as they are taken: see `_native.Claims`."""

        def __iter__(self) -> Iterator[Any]: ...
        def __next__(self) -> Any: ...
        @property
        def taken(self) -> int: ...
        @property
        def left(self) -> bool: ...
        @property
        def is_forked(self) -> bool: ...
        def end_after(self, seconds: float, /) -> None: ...
        def settle(self) -> None: ...


# Calls, endings and error modes, as src/python/executor.rs numbers them.
SINGLE, CHUNK, CHUNK_FOLD, FOLD, COMBINE = range(5)
#: In the place of a call: what `ExecutorChannel.run` was left with, the value of a function or its exception.
VALUE, ERROR = 5, 6
RETURNED, RAISED, RAISED_FOR_GOOD, SKIPPED, CANCELLED = range(5)
RAISE, RETURN, SKIP = range(3)
FOREIGN, MEANT, STALE = range(3)


async def _coroutine() -> None:
    """Exist for its type."""


_sample = _coroutine()
_Coroutine = type(_sample)
_sample.close()


def main() -> None:
    """Run orders until the worker is gone."""
    try:
        channel = ExecutorChannel.open()
    except OSError as error:
        sys.exit(f"plait: an executor is started by its worker, not by hand ({error})")
    os.register_at_fork(after_in_child=after_fork_in_child)
    _context.enter_executor()
    sys.argv = ["plait-executor"]
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True)
    _interrupts.listen(channel)
    status = 1
    try:
        _serve(channel)
        status = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    # Threads that outlived their tasks must not hold up the end; the worker waits for nothing here.
    _flush()
    os._exit(status)


class Interrupts:
    """What SIGINT does: `KeyboardInterrupt` inside a task, nothing outside of one or if it came too late."""

    __slots__ = ("_channel",)

    def __init__(self) -> None:
        self._channel: ExecutorChannel | None = None

    def listen(self, channel: ExecutorChannel) -> None:
        """Handle SIGINT from here on."""
        self._channel = channel
        _signal.signal(_signal.SIGINT, self._on_interrupt)

    @property
    def cancelled(self) -> bool:
        """Whether the worker asked the task at hand to stop."""
        return self._channel is not None and self._channel.cancelled

    def _on_interrupt(self, _signum: int, frame: FrameType | None) -> None:
        channel = self._channel
        if channel is None or (meant := channel.interrupted()) == STALE:
            return
        if meant == MEANT:
            channel.cancelled = True
        if channel.inside:
            channel.broken = channel.broken or _is_importing(frame)
            raise KeyboardInterrupt


_interrupts = Interrupts()


def _is_importing(frame: FrameType | None) -> bool:
    """Whether a module would be left half made: few of them can be imported again."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib._bootstrap"):
            return True
        frame = frame.f_back
    return False


@calls_users
def _serve(channel: ExecutorChannel) -> None:
    """Take, run, finish. The channel runs what is plain; what comes here is the rest."""
    run, finish = channel.run, channel.finish
    surroundings = Surroundings(channel)
    ending: int
    data: Any
    while True:
        order = run()
        if order is None:
            _flush()
            if not channel.wait():
                return
            continue
        call, loaded, args, inputs, detail = order
        try:
            if call == ERROR:
                raise args
            try:
                channel.inside = True
                if channel.cancelled:
                    raise KeyboardInterrupt
                if loaded is None:
                    loaded = _load(channel, 0)
                    surroundings.accept()
                ending, data = _run(channel, call, loaded, args, inputs, detail)
            finally:
                channel.inside = False
        except BaseException as error:
            channel.inside = False
            ending, data = _failed(error, loaded)
        if channel.changed:
            surroundings.restore()
        if not finish(ending, data):
            _end(ending)
        channel.cancelled = False
        order = args = inputs = data = None


@calls_users
def _run(
    channel: ExecutorChannel, call: int, loaded: Loaded, args: Any, inputs: list[RawOutcome] | None, detail: Any
) -> Ending:
    """Run anything but the plainest of calls."""
    if call == VALUE:
        return RETURNED, _dump_result(args)
    fn, retry_on = loaded
    segments = [args] if type(args) is bytes else args
    if call == SINGLE:
        positional, named = load_call(segments, Inputs(inputs or []))
        return RETURNED, _dump_result(fn(*positional, **named))
    if call == FOLD:
        return _fold(fn, _values(inputs or []))
    if call in (CHUNK, CHUNK_FOLD):
        errors, retries, first, crash, *merge = detail
        if crash is not None:
            return _crashed(call, error_from(crash, load_error), segments, first, errors)
        with Resolving(Inputs(inputs or [])):
            items = load_items(own_buffers(segments) if retries else segments)
            again = Again(segments, items, inputs or [])
            claims = channel.claims(iter(items[first:] if first else items))
            chunk = Chunk(fn, retry_on, kind_of(segments), items, again, claims, errors, retries, first)
            if call == CHUNK:
                return RETURNED, chunk.dump(resolved=bool(inputs))
        return _fold((merge[0] or _load(channel, 1))[0], iter(chunk.settled()))
    return RETURNED, _dump_result(fn(_members(inputs or [], detail[0])))


class Chunk:
    """A function applied to many items, each with its own failure, retries and time.

    Python runs once per stride and failure, not once per item: `values.extend(map(fn, claims))` keeps what came before
    an exception, so its length says which item it was. Items that were not claimed have no values: somebody else has
    them, or they are given back.
    """

    __slots__ = (
        "again",
        "claims",
        "errors",
        "failures",
        "first",
        "fn",
        "items",
        "kind",
        "retries",
        "retry_on",
        "seconds",
        "told",
        "values",
    )

    def __init__(
        self,
        fn: Callable[..., Any],
        retry_on: Any,
        kind: int,
        items: Sequence[Any],
        again: Again | Sequence[Any],
        claims: Claims,
        errors: int,
        retries: int,
        first: int = 0,
    ) -> None:
        self.fn = fn
        self.again = again
        self.retry_on = retry_on
        self.kind = kind
        self.items = items
        self.claims = claims
        self.first = first
        self.errors = errors
        self.retries = retries
        self.values: list[Any] = []
        self.failures: dict[int, bytes] = {}
        self.seconds: list[float] = []
        self.told: tuple[Any, ...] = ()
        try:
            self._run()
        finally:
            claims.settle()

    def _run(self) -> None:
        # The first item tells what kind of function it is.
        going = self._extend(self._calls(islice(self.claims, 1)))
        if self.values and type(self.values[0]) is _Coroutine:
            first = self.values.pop()
            self.seconds.clear()
            self.fn = Awaiting(self.fn)
            going = self._extend(map(_await, (first,)))
        if self.kind & BRIEF:
            self.claims.end_after(BRIEF_SECONDS)
        stride = 1 if self.kind & TIMED else len(self.items)
        while going and self.claims.left:
            going = self._extend(self._calls(islice(self.claims, stride)))
        if self.claims.is_forked:
            _end(RETURNED)

    def _calls(self, some: Iterable[Any]) -> Iterator[Any]:
        if self.kind & APART:
            some = map(load_packed, some)
        return starmap(self.fn, some) if self.kind & TUPLES else map(self.fn, some)

    @calls_users
    def _extend(self, calls: Iterator[Any]) -> bool:
        """Make calls until they end or one fails, and see to that one; whether to go on."""
        began, before = perf_counter(), len(self.values)
        error: BaseException | None = None
        try:
            self.values.extend(calls)
        except BaseException as raised:
            error = raised
        if error is None and len(self.values) < self.claims.taken:
            error = StopIteration()  # the function raised it, and that ended the iteration
        going = error is None or self._failed(error)
        if self.kind & TIMED and len(self.values) > before:
            self.seconds.append(perf_counter() - began)
        return going

    def _failed(self, error: BaseException) -> bool:
        """See to the item after the last value: again, if it may be retried; whether to go on."""
        index, left = len(self.values), self.retries
        if self._ends_all() or index == self.claims.taken:
            raise error
        again = self.fn if isinstance(self.fn, Awaiting) else Awaiting(self.fn)
        while left and isinstance(error, self.retry_on):
            left -= 1
            try:
                self.values.append(again(*self._arguments(index)))
                return True
            except BaseException as raised:
                if self._ends_all():
                    raise
                error = raised
        self.values.append(None)
        self._note(index, error)
        return not self.kind & FIRST

    def _ends_all(self) -> bool:
        """Whether a failure ends the whole: it was cancelled, or this is a process that the function forked."""
        return _interrupts.cancelled or self.claims.is_forked

    def _arguments(self, index: int) -> Any:
        """Return what one call is given that is not the first with its item."""
        item = self.again[self.first + index]
        return item if self.kind & TUPLES else (item,)

    def _note(self, index: int, error: BaseException) -> None:
        """Take note of an item's failure, which is that of the whole with `RAISE`."""
        if self.errors == RAISE:
            raise _NoRetry from error
        self.failures[index] = dump_error(error)[0] if self.errors == RETURN else b""

    def settled(self) -> list[Any]:
        """Return the values without those that are left out, and await what only now and then is a coroutine."""
        for index, value in enumerate(self.values):
            if type(value) is _Coroutine:
                self.values[index] = None
                try:
                    self.values[index] = _await(value)
                except BaseException as error:
                    if self._ends_all():
                        raise
                    self._note(index, error)
                if self.claims.is_forked:
                    _end(RETURNED)
        if not self.failures:
            return self.values
        return [value for index, value in enumerate(self.values) if index not in self.failures]

    def dump(self, *, resolved: bool = False) -> Segments:
        """Pickle what it came to. A value that cannot be pickled is the failure of its item.

        Args:
            resolved: There were futures in its one item: it is told with their values.
        """
        if self.kind & TOLD:
            self.told = self._told(resolved=resolved)
        try:
            return self._dump()
        except SerializationError:
            self.settled()
        for index, value in enumerate(self.values):
            try:
                dump_value(value)
            except SerializationError as error:
                self.values[index] = None
                self._note(index, error)
        return self._dump()

    def _told(self, *, resolved: bool) -> tuple[Any, ...]:
        """What a combine is told beside: the items, their kind, the worker."""
        items = self.items[self.first : self.first + len(self.values)]
        if resolved:
            try:
                items = [pack_item(self.kind, load_packed(item))[0] for item in items]
            except Exception:
                pass  # they are told without those values, then
        return (list(map(repack, items)) if self.kind & APART else items, self.kind, _worker())

    def _dump(self) -> Segments:
        if self.errors == RETURN:
            return dump_value((self.first, self.values, self.failures, self.seconds or None, *self.told))
        return dump_value((self.first, self.settled() if self.failures else self.values, {}, None))


class Again:
    """The items of a chunk for every try but the first: what a try that failed has changed, the next does not see.

    All are unpickled once more for each try that some item needed; the n-th time, an item is taken from the n-th copy.
    """

    __slots__ = ("_copies", "_inputs", "_items", "_last", "_segments", "_tries")

    def __init__(self, segments: Segments, items: Sequence[Any], inputs: list[RawOutcome]) -> None:
        self._segments = segments
        self._items = items
        self._inputs = inputs
        self._copies: list[Sequence[Any]] = []
        self._last, self._tries = -1, 0

    def __getitem__(self, index: int) -> Any:
        """Return an item for its next try; each has all its tries before the next has its own."""
        item, kind = self._items[index], kind_of(self._segments)
        if not self._inputs and is_plain(kind & ~APART, (item,)):
            return load_packed(item) if kind & APART else item
        self._tries = self._tries + 1 if index == self._last else 0
        self._last = index
        with Resolving(Inputs(self._inputs)):
            if self._tries == len(self._copies):
                self._copies.append(load_items(own_buffers(self._segments)))
            item = self._copies[self._tries][index]
            return load_packed(item) if kind & APART else item


def _crashed(call: int, error: BaseException, segments: Segments, first: int, errors: int) -> Ending:
    """Say what an item comes to that has killed as many executors as it may: it is not called again."""
    if errors == RAISE:
        raise _NoRetry from error
    if call == CHUNK_FOLD:
        return SKIPPED, ()
    if errors == RETURN:
        told: tuple[Any, ...] = ()
        if (kind := kind_of(segments)) & TOLD:
            item = load_items(segments)[first]
            told = ([repack(item) if kind & APART else item], kind, None)
        return RETURNED, dump_value((first, [None], {0: dump_error(error)[0]}, None, *told))
    return RETURNED, dump_value((first, [], {}, None))


class Awaiting:
    """A function whose coroutines are awaited."""

    __slots__ = ("fn",)

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.fn = fn

    @calls_users
    def __call__(self, *item: Any) -> Any:
        """Call it and await what it returns, if that is a coroutine."""
        value = self.fn(*item)
        return _await(value) if type(value) is _Coroutine else value


@calls_users
def _fold(merge: Callable[[Any, Any], Any], values: Iterator[Any]) -> Ending:
    """Merge values in order; nothing at all is no value."""
    for first in values:
        folded = first
        for value in values:
            folded = merge(folded, value)
            if type(folded) is _Coroutine:
                folded = _await(folded)
        return RETURNED, _dump_result(folded)
    return SKIPPED, ()


class Inputs:
    """The inputs of a task, unpickled as they are asked for."""

    __slots__ = ("_loaded", "_outcomes")

    def __init__(self, outcomes: list[RawOutcome]) -> None:
        self._outcomes = outcomes
        self._loaded: dict[int, Any] = {}

    def __getitem__(self, index: int) -> Any:
        """Return the value of the n-th input, the same object each time."""
        if index not in self._loaded:
            outcome = self._outcomes[index]
            if outcome[0] != "value":
                cause = error_from(outcome, load_error)
                raise DependencyFailed(f"an input of this task failed: {told(cause)}") from cause
            self._loaded[index] = load_value(outcome[1])
        return self._loaded[index]


def _values(inputs: list[RawOutcome]) -> Iterator[Any]:
    """The plain values among inputs, each unpickled when it is its turn, and let go after it."""
    inputs.reverse()
    while inputs:
        outcome = inputs.pop()
        if outcome[0] == "value":
            yield load_value(outcome[1])


def _members(inputs: list[RawOutcome], errors: int) -> list[Any]:
    """What a combine gets: what the items of all pieces came to, in one list.

    With `errors="return"` a piece may have failed otherwise than by its function: it was alone, and the chunk follows
    in which it was, with its place there.
    """
    members: list[Any] = []
    each = iter(inputs)
    for outcome in each:
        if outcome[0] == "value":
            for part in load_parts(outcome[1]):
                members.extend(_outcomes(part) if errors == RETURN else part[1])
        elif errors == RETURN:
            error, segments = error_from(outcome, load_error), next(each)[1]
            first, end = map(int, bytes(next(each)[1][0]).split())
            told = Given if kind_of(segments) & APART else Outcome
            members.extend(told(item, None, error) for item in load_items(segments)[first:end])
    return members


def _outcomes(part: Any) -> Iterator[Outcome]:
    """Tell what the items of a part came to."""
    _, values, failures, seconds, items, kind, worker = part
    told = Given if kind & APART else Outcome
    for index, (item, value) in enumerate(zip(items, values, strict=True)):
        error = load_error([failures[index]]) if index in failures else None
        yield told(item, value, error, seconds[index] if seconds else 0.0, worker)


class Given(Outcome):
    """An outcome whose item is unpickled once it is asked for: it may be what failed, and would fail its reader too."""

    __slots__ = ("_packed",)

    def __init__(
        self, packed: Any, value: Any, error: BaseException | None, seconds: float = 0.0, worker: str | None = None
    ) -> None:
        self._packed = packed
        self.value, self.error, self.seconds, self.worker = value, error, seconds, worker

    @property
    def item(self) -> Any:
        """The item, None where it or a part of it cannot be had: what cannot be unpickled, the values of futures."""
        try:
            return load_given(self._packed)
        except Exception:
            return None


def _dump_result(value: Any) -> Segments:
    """Pickle what a function returned; what an `async def` returned is awaited first."""
    return dump_value(_await(value) if type(value) is _Coroutine else value)


def _worker() -> str:
    """The name of this executor's worker."""
    return f"{os.uname().nodename}:{os.getppid()}"


def _await(coroutine: Coroutine[Any, Any, Any]) -> Any:
    import asyncio

    return asyncio.run(coroutine)


class _NoRetry(Exception):
    """Wraps the failure of an item whose retries are used up: the whole chunk is not tried again."""


def _failed(error: BaseException, loaded: Loaded | None) -> Ending:
    """Say how a task failed: by its exception, or because it was cancelled."""
    if _interrupts.cancelled:
        return CANCELLED, ()
    retry_on: Any = loaded[1] if loaded is not None else Exception
    ending = RAISED
    if isinstance(error, _NoRetry) and error.__cause__ is not None:
        error, ending = error.__cause__, RAISED_FOR_GOOD
    elif isinstance(error, SerializationError) or not isinstance(error, retry_on):
        ending = RAISED_FOR_GOOD
    return ending, dump_error(error)


def _load(channel: ExecutorChannel, which: int) -> Loaded:
    """Unpickle a function of the order at hand and keep it for later ones; one that cannot be unpickled fails each."""
    # Not to be interrupted: the body is given once, and without it every later order would fail.
    channel.inside = False
    body = channel.body(which)
    try:
        loaded = load_function(body)
    except BaseException as error:
        loaded = (_Unloadable(error), ())
    channel.keep(which, loaded)
    channel.inside = True
    if channel.cancelled:
        raise KeyboardInterrupt
    if isinstance(loaded[0], _Unloadable):
        loaded[0]()
    return loaded


class _Unloadable:
    """Stands for a function that could not be unpickled."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self._traceback = error.__traceback__

    def __call__(self, *_args: object, **_kwargs: object) -> None:
        """Raise what unpickling raised; without what earlier raising has added to the traceback."""
        raise self.error.with_traceback(self._traceback)


class Surroundings:
    """The working directory, the environment and the signal mask, as tasks should find them.

    Nothing is compared per task: an audit hook and a wrapped `pthread_sigmask` tell the channel what was changed.
    """

    def __init__(self, channel: ExecutorChannel) -> None:
        self._channel = channel
        self._set_mask = _signal.pthread_sigmask
        self._mask = self._set_mask(_signal.SIG_BLOCK, ())
        self._directory = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._environment = dict(os.environ)
        self._touched: set[bytes] = set()
        _signal.pthread_sigmask = self._on_mask
        sys.addaudithook(self._on_event)

    def _on_event(self, event: str, args: tuple[Any, ...]) -> None:
        if event in _CHANGES:
            self._channel.changed = True
            if event != "os.chdir":
                self._touched.add(args[0])

    def _on_mask(self, how: int, mask: Any) -> Any:
        self._channel.changed = True
        return self._set_mask(how, mask)

    def accept(self) -> None:
        """Take what the import of a module did to the environment as given: it will not be imported again."""
        if self._touched:
            self._environment = dict(os.environ)
            self._touched.clear()

    def restore(self) -> None:
        """Put everything back."""
        self._set_mask(_signal.SIG_SETMASK, self._mask)
        os.fchdir(self._directory)
        for raw in list(self._touched):
            name = os.fsdecode(raw)
            if name in self._environment:
                os.environ[name] = self._environment[name]
            else:
                os.environ.pop(name, None)
                os.unsetenv(name)
        self._touched.clear()
        self._channel.changed = False


_CHANGES = frozenset({"os.chdir", "os.putenv", "os.unsetenv"})


def _flush() -> None:
    """Let what was printed be seen."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            pass  # closed, replaced, or nobody reads it: not ours to report


def _end(ending: int) -> None:
    """End a process that a task forked and that came out of the task's function, or one that is of no use any more."""
    _flush()
    os._exit(0 if ending == RETURNED else 1)
