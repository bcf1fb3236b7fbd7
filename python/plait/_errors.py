"""Every exception that plait raises of its own.

    PlaitError
    ├─ ConnectError            no coordinator could be reached; says what was tried and what to do
    ├─ AuthError               a coordinator was reached and a key was refused
    ├─ VersionMismatch         a coordinator was reached and speaks another protocol
    ├─ Unschedulable           no worker can ever run the task
    ├─ TaskCrashed             the task killed its executors
    ├─ DependencyFailed        a future among the arguments failed or was cancelled; __cause__ is why
    ├─ SerializationError      an argument or a result cannot be pickled; says where it sits
    ├─ ResultTooLarge          the result is larger than may be held
    ├─ NoSpace                 there is no room for the result, neither in memory nor on disk; says where
    ├─ RemoteError             the user's exception, where it cannot be unpickled here
    └─ CoordinatorLost         the coordinator could not be reached again (also BrokenExecutor)

All of them pickle and keep their fields. A user's own exception is none of these: it arrives as itself.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, TypeAlias

    from typing_extensions import Buffer

    #: The stream of a pickled object and its out-of-band buffers.
    Segments: TypeAlias = Sequence[Buffer]
    #: What a task came to, as the native side tells it: a word and what belongs to it.
    RawOutcome: TypeAlias = tuple[Any, ...]
    #: `_serialize.load_error`, which lies above this module.
    LoadError: TypeAlias = Callable[[Segments, str], BaseException]


class PlaitError(Exception):
    """The base of every exception that plait raises of its own."""

    __module__ = "plait"  # where its users find it is what tracebacks say

    def __init_subclass__(cls) -> None:
        """Give the classes of this file their public name."""
        super().__init_subclass__()
        if cls.__module__ == __name__:
            cls.__module__ = "plait"


class ConnectError(PlaitError):
    """No coordinator could be reached.

    Args:
        message: What was tried, what is wrong, what to do.
        address: What was tried; never with its secret part.
    """

    def __init__(self, message: str, *, address: str = "") -> None:
        super().__init__(message)
        self.address = address


class AuthError(PlaitError):
    """A coordinator was reached, and one side refused the other's key.

    Args:
        message: Which side refused which key, and what to do.
        address: The coordinator's host and port.
    """

    def __init__(self, message: str, *, address: str = "") -> None:
        super().__init__(message)
        self.address = address


class VersionMismatch(PlaitError):
    """A coordinator was reached, and no protocol version is common to both sides.

    Args:
        message: Both versions and what to do.
        ours: The versions spoken here.
        theirs: The versions spoken there.
    """

    def __init__(self, message: str, *, ours: str = "", theirs: str = "") -> None:
        super().__init__(message)
        self.ours = ours
        self.theirs = theirs


class Unschedulable(PlaitError):
    """No worker can ever run the task.

    Args:
        message: The fields below in one sentence.
        asked: What the task asks for.
        best: The worker that comes nearest; empty if there is none.
        missing: What that worker lacks.
    """

    def __init__(self, message: str, *, asked: str = "", best: str = "", missing: str = "") -> None:
        super().__init__(message)
        self.asked = asked
        self.best = best
        self.missing = missing


class TaskCrashed(PlaitError):
    """The task killed as many executors as its `crash_limit` allows.

    Args:
        message: How the last one died.
        attempts: One dict for each death, first to last, with `host`, `pid`, `signal` (its number, or None), `code`
            (the exit code, or None), `peak_memory` (bytes, as last seen: it is looked up ten times a
            second; 0 if unknown) and `log_tail` (the end of stderr).
    """

    def __init__(self, message: str, *, attempts: Sequence[dict[str, Any]] = ()) -> None:
        super().__init__(message)
        self.attempts = list(attempts)


class DependencyFailed(PlaitError):
    """A future among the arguments failed or was cancelled; `__cause__` is its exception.

    Args:
        message: Which task it was.
        task: Its number, or None if it never left the client.
    """

    def __init__(self, message: str, *, task: int | None = None) -> None:
        super().__init__(message)
        self.task = task

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the cause too: without it nobody would know what happened."""
        return (_with_cause, (type(self), self.args, self.__dict__, self.__cause__))


class SerializationError(PlaitError):
    """An argument or a result cannot be pickled, or cannot be unpickled where it is needed.

    Args:
        message: The fields below in one sentence.
        path: Where the culprit sits: `args[1]['cb'].__closure__[0]`.
        reason: What the pickler said.
        size: Bytes of the pickle, where it is the size that is wrong; else None.
    """

    def __init__(self, message: str, *, path: str = "", reason: str = "", size: int | None = None) -> None:
        super().__init__(message)
        self.path = path
        self.reason = reason
        self.size = size


class ResultTooLarge(PlaitError):
    """A result, or what was put, is larger than may be held.

    Args:
        message: The fields below in one sentence.
        size: Bytes of the pickled value.
        limit: Bytes allowed.
    """

    def __init__(self, message: str, *, size: int = 0, limit: int = 0) -> None:
        super().__init__(message)
        self.size = size
        self.limit = limit


class NoSpace(PlaitError):
    """There is no room for a result on its worker's machine, neither in memory nor on disk.

    Args:
        message: The fields below in one sentence.
        size: Bytes of the pickled value.
        path: The folder for what memory cannot hold, on that machine.
        reason: What is wrong with it.
    """

    def __init__(self, message: str, *, size: int = 0, path: str = "", reason: str = "") -> None:
        super().__init__(message)
        self.size = size
        self.path = path
        self.reason = reason


class RemoteError(PlaitError):
    """The user's exception, where it cannot be unpickled here.

    Args:
        message: Its type and text, and why it is not itself.
        type_name: Its type, with the module.
        traceback: Where it was raised, as text.
    """

    def __init__(self, message: str, *, type_name: str = "", traceback: str = "") -> None:
        super().__init__(message)
        self.type_name = type_name
        self.traceback = traceback


class RemoteTraceback(Exception):
    """The cause of an exception that was raised in an executor: its traceback there, as text."""

    def __str__(self) -> str:
        """Show the traceback below its own heading."""
        return f'\n"""\n{self.args[0] if self.args else ""}"""'


if TYPE_CHECKING:
    from concurrent.futures import BrokenExecutor

    class CoordinatorLost(PlaitError, BrokenExecutor):
        """The coordinator was stopped, or could not be reached again: what was pending there is unknown."""


def __getattr__(name: str) -> Any:
    """Make `CoordinatorLost` on first use: its second base costs an executor 20 ms that it never needs."""
    if name != "CoordinatorLost":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from concurrent.futures import BrokenExecutor

    doc = "The coordinator was stopped, or could not be reached again: what was pending there is unknown."
    made = type(name, (PlaitError, BrokenExecutor), {"__module__": __name__, "__doc__": doc})
    return globals().setdefault(name, made)


def told(error: BaseException) -> str:
    """Return an exception's type and text; never fails, whatever a user's `__str__` does."""
    return f"{type(error).__name__}: {text_of(error)}"


def text_of(error: BaseException) -> str:
    """Return an exception's text, or why there is none."""
    try:
        return str(error)
    except Exception as second:  # noqa: BLE001 - a user's `__str__` may raise anything
        return f"<its text cannot be had: {type(second).__name__}>"


def error_from(
    outcome: RawOutcome, load_error: Callable[[Segments, str], BaseException], note: str = ""
) -> BaseException:
    """Return the exception that an outcome stands for.

    Args:
        outcome: A task's outcome; neither a value nor skipped.
        load_error: `_serialize.load_error`.
        note: Which task, attempt, host, how long; added to the exception if not empty.
    """
    if outcome[0] == "raised":
        return load_error(outcome[1], note)
    error = _MAKERS.get(outcome[0], _unknown)(outcome, load_error)
    if note:
        error.add_note(note)
    return error


def _crashed(outcome: RawOutcome, _load: object) -> BaseException:
    deaths: list[dict[str, Any]] = outcome[1]
    if not deaths:
        return TaskCrashed("the task's executor died")
    last = deaths[-1]
    times = "" if len(deaths) == 1 else f" {len(deaths)} executors died under it; the last one"
    message = f"the task crashed:{times or ' its executor'} {_manner(last)} (pid {last['pid']} on {last['host']})"
    tail = str(last.get("log_tail") or "").strip()
    return TaskCrashed(f"{message}\nits stderr ended with:\n{tail}" if tail else message, attempts=deaths)


def _manner(death: dict[str, Any]) -> str:
    """How a process ended, in words."""
    if death.get("signal") is not None:
        return f"was killed by {_signal_name(death['signal'])}"
    if death.get("code") is not None:
        return f"exited with code {death['code']}"
    return "vanished"


def _signal_name(number: int) -> str:
    import signal

    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"


def _dependency(outcome: RawOutcome, load: LoadError) -> BaseException:
    cause = error_from(outcome[2], load)
    how = "was cancelled" if outcome[2][0] == "cancelled" else f"failed: {told(cause)}"
    error = DependencyFailed(f"task {outcome[1]}, on which this one depends, {how}", task=outcome[1])
    error.__cause__ = cause
    return error


def _unschedulable(outcome: RawOutcome, _load: object) -> BaseException:
    _, asked, best, missing = outcome
    nearest = f"the nearest is {best}, which lacks {missing}" if best else f"there is none; missing: {missing}"
    return Unschedulable(
        f"no worker can run this task: it asks for {asked}; {nearest}", asked=asked, best=best, missing=missing
    )


def _too_large(outcome: RawOutcome, _load: object) -> BaseException:
    _, size, limit = outcome
    return ResultTooLarge(f"the value takes {size} bytes pickled; {limit} are allowed", size=size, limit=limit)


def _no_space(outcome: RawOutcome, _load: object) -> BaseException:
    _, size, path, reason = outcome
    text = (
        f"no memory is left for a result of {size} bytes, and no room in {path}: {reason} (PLAIT_SPILL_DIR says where)"
    )
    return NoSpace(text, size=size, path=path, reason=reason)


def _cancelled(_outcome: RawOutcome, _load: object) -> BaseException:
    from concurrent.futures import CancelledError

    return CancelledError()


def _lost(outcome: RawOutcome, _load: object) -> BaseException:
    error: BaseException = __getattr__("CoordinatorLost")(outcome[1])
    return error


def _unknown(outcome: RawOutcome, _load: object) -> BaseException:
    return PlaitError(f"the outcome of the task is not known: {outcome[-1]}")


_MAKERS: dict[str, Callable[[RawOutcome, LoadError], BaseException]] = {
    "crashed": _crashed,
    "dependency": _dependency,
    "unschedulable": _unschedulable,
    "too_large": _too_large,
    "no_space": _no_space,
    "cancelled": _cancelled,
    "lost": _lost,
}


def _with_cause(
    cls: type[BaseException], args: tuple[Any, ...], fields: dict[str, Any], cause: BaseException | None
) -> BaseException:
    """Unpickle an exception together with its cause."""
    error = cls(*args)
    error.__dict__.update(fields)
    error.__cause__ = cause
    return error
