"""Functions for tasks: importable, so that they travel by reference."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import threading
import time
from typing import Any


def same(x: Any) -> Any:
    """Return what is given."""
    return x


def nothing() -> None:
    """Do nothing."""


def fail(x: Any) -> None:
    """Raise a ValueError."""
    raise ValueError(x)


def fail_on(bad: Any, x: Any) -> Any:
    """Raise for one value, return any other."""
    if x == bad:
        raise ValueError(x)
    return x


def first_of(items: list[Any]) -> Any:
    """Return the first item; of none, raise a StopIteration."""
    return next(iter(items))


class Bomb:
    """An object that goes off when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Unpickle as a division by zero."""
        return (divmod, (1, 0))


#: What this process has loaded of `Loud`.
loaded: list[Any] = []


class Loud:
    """An object that is heard when it is unpickled."""

    def __init__(self, name: Any) -> None:
        self.name = name

    def __reduce__(self) -> tuple[Any, ...]:
        """Unpickle as its name and that of the thread."""
        return (hear, (self.name,))


def hear(name: Any) -> tuple[Any, str]:
    """Say that something was loaded."""
    loaded.append(name)
    return name, threading.current_thread().name


def loud_after(path: str) -> Loud:
    """Return something loud once a file exists."""
    until(path)
    return Loud(path)


class Killer:
    """An object that kills whoever unpickles it."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Unpickle as the end of the process."""
        return (os._exit, (9,))


class NotThere(LookupError):
    """An exception that can be referred to weakly."""


def look_up(x: Any) -> None:
    """Raise a NotThere."""
    raise NotThere(x)


def pause(seconds: float, x: Any = None) -> Any:
    """Return after a while."""
    time.sleep(seconds)
    return x


def until(path: str, x: Any = None) -> Any:
    """Return once a file exists."""
    while not os.path.exists(path):
        time.sleep(0.005)
    return x


def touch_then_wait(begun: str, path: str) -> None:
    """Make a file, then wait for another."""
    open(begun, "w").close()
    until(path)


def null_pointer() -> None:
    """Crash."""
    ctypes.string_at(0)


def leave(code: int) -> None:
    """End the process."""
    os._exit(code)


def kill_self() -> None:
    """End the process by the signal that nobody can catch."""
    os.kill(os.getpid(), signal.SIGKILL)


def leave_politely(code: int) -> None:
    """Raise SystemExit."""
    sys.exit(code)


def count_calls(path: str, fail_times: int) -> int:
    """Raise as often as told, counting in a file."""
    with open(path, "a") as file:
        file.write("x")
    calls = os.path.getsize(path)
    if calls <= fail_times:
        raise KeyError(calls)
    return calls


def count_calls_and_die(path: str, die_times: int) -> int:
    """Crash as often as told, counting in a file."""
    with open(path, "a") as file:
        file.write("x")
    calls = os.path.getsize(path)
    if calls <= die_times:
        kill_self()
    return calls


class Unloadable(Exception):
    """Pickles, and cannot be unpickled."""

    def __init__(self, one: Any, two: Any) -> None:
        super().__init__(one)


def fail_unloadable() -> None:
    """Raise what cannot be unpickled."""
    raise Unloadable("what", "why")


def lock() -> Any:
    """Return what cannot be pickled."""
    import threading

    return threading.Lock()


class OnlyThere:
    """Unpickles in executors only: here it raises."""

    def __reduce__(self) -> Any:
        return (only_in, (os.getpid(),))


def only_in(pid: int) -> OnlyThere:
    """Raise anywhere but in the process that pickled."""
    if os.getpid() != pid:
        raise LookupError("not here")
    return OnlyThere()


def made_there() -> OnlyThere:
    """Return what cannot be unpickled elsewhere."""
    return OnlyThere()


def info() -> tuple[int, int]:
    """Return the process and its parent."""
    return os.getpid(), os.getppid()


def add(a: Any, b: Any) -> Any:
    """Return the sum."""
    return a + b


def use_plait() -> None:
    """Use plait inside a task."""
    import plait

    plait.Client(slots=1)


def note_and_fail(path: str) -> None:
    """Leave a line in a file, then raise a ValueError."""
    with open(path, "a") as notes:
        notes.write("tried\n")
    raise ValueError(path)


async def later(x: Any) -> Any:
    """Return what is given, as a coroutine does."""
    return x


class Adder:
    """Adds what it holds."""

    def __init__(self, held: int) -> None:
        self.held = held

    def __call__(self, x: int) -> int:
        """Add."""
        return self.held + x


def unpickle_slowly(begun: str) -> Slow:
    """Take a while, and leave a file at the beginning of it."""
    open(begun, "w").close()
    time.sleep(0.5)
    return Slow(begun)


class Slow:
    """A function whose unpickling takes a while."""

    def __init__(self, begun: str) -> None:
        self.begun = begun

    def __call__(self) -> int:
        """Return a number."""
        return 1

    def __reduce__(self) -> tuple[Any, ...]:
        """Be unpickled slowly."""
        return (unpickle_slowly, (self.begun,))


class Sealed(Exception):
    """Its attributes cannot be set."""

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name} is read-only")


def come_to(kind: str) -> Any:
    """Return or raise something that is hard to send."""
    if kind == "lock":
        return threading.Lock()
    if kind == "unloadable":
        raise Unloadable("a", "b")
    if kind == "interrupt":
        raise asyncio.CancelledError
    if kind == "sealed":
        raise Sealed(3)
    return 1
