"""Functions of a session: each function is pickled once, and again when something that it captures was rebound.

A change *inside* a captured object is not seen. Other callables are pickled whenever they are used.

Nothing here keeps a user's function alive: an entry goes with its function, unless that captures itself; then it goes
as the oldest of too many. The session knows a function as long as somebody holds its `FunctionTicket`: an entry, a run
or a map under way, or the list of pickles made lately, which spares a lambda made anew for each task its journey.
"""

from __future__ import annotations

import sys
import weakref
from functools import partial
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, ModuleType, NoneType
from typing import TYPE_CHECKING, Any, NamedTuple

from plait import _config
from plait._errors import SerializationError
from plait._options import PINS
from plait._serialize import dump_function, refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from plait._native import FunctionTicket, Session
    from plait._serialize import RetryOn

#: Captured names and cells that are watched for each function.
MAX_CAPTURES = 1_000

#: What is pickled once, by its true type; all of it can be weakly referenced. Anything else (a bound method, a partial,
#: an object with `__call__`) may hold other things the next time; so may a builtin that is bound to an object.
_REMEMBERED = (FunctionType, BuiltinFunctionType, type)

#: What a builtin may be bound to and still stay the same: nothing, its module, or a class (`int.from_bytes`).
_FIXED = (NoneType, ModuleType, type)

_GONE = object()


class Captures(NamedTuple):
    """What a by-value function took along: the names and cells, each with what it held."""

    names: tuple[tuple[dict[str, Any], str, Any], ...]
    cells: tuple[tuple[CellType, Any], ...]

    def unchanged(self) -> bool:
        """Whether each still holds the same object."""
        for names, name, value in self.names:  # asked before each task: no generator
            if names.get(name, _GONE) is not value:
                return False
        return not self.cells or all(_content(cell) is value for cell, value in self.cells)


class Known(NamedTuple):
    """A function that the session knows."""

    #: What the function is called, for people.
    name: str
    #: Its number in the session.
    number: int
    #: What to look at before it is used again; None if there is nothing.
    captures: Captures | None
    #: Options pinned by `@plait.task`; None if there are none.
    pins: Mapping[str, Any] | None
    #: The session knows the function as long as this is held.
    ticket: FunctionTicket
    #: Takes the entry out of `Functions.known` before the `id` of its function can be used again. It runs no Python
    #: code, so no signal can come between. None for what is not remembered.
    end: weakref.ref[Any] | None
    #: The function's short name, if it has one.
    label: str


class Functions:
    """The functions of one session that share a `retry_on`; None leaves it to what a function pins.

    `known` maps `id(fn)` to a `Known`; look there first and call `learn` if it is not there or has changed.
    """

    __slots__ = ("_recent", "_retry_on", "_session", "known")

    def __init__(self, session: Session, retry_on: RetryOn | None) -> None:
        self._session = session
        self._retry_on = retry_on
        self._recent: dict[bytes, FunctionTicket] = {}
        self.known: dict[int, Known] = {}

    def learn(self, fn: Callable[..., Any]) -> Known:
        """Pickle a function and make it known; equal pickles made lately share a number.

        Raises:
            TypeError: If it is not callable.
            SerializationError: If it cannot be pickled, or is larger than the coordinator takes.
        """
        if not callable(fn):
            raise TypeError(f"the function must be callable, not {fn!r}")
        pins = _pins(fn)
        retry_on = self._retry_on or (pins or {}).get("retry_on", Exception)
        (body,), by_value = dump_function(fn, retry_on)
        name, label = getattr(fn, "__qualname__", None) or type(fn).__qualname__, getattr(fn, "__name__", "")
        ticket = self._recent.get(body)
        if ticket is None:
            python = sys.version_info[:2] if by_value else None
            try:
                ticket = self._session.define_function(body, python)
            except SerializationError as refused:
                raise refusal(refused, name) from None
        _remember(self._recent, body, ticket, _config.FUNCTIONS_RECENT)
        while len(self._recent) > 1 and sum(map(len, list(self._recent))) > _config.FUNCTIONS_RECENT_BYTES:
            _drop_oldest(self._recent)
        captures = _captures(fn) if by_value else None
        if not (issubclass(type(fn), _REMEMBERED) and isinstance(getattr(fn, "__self__", None), _FIXED)):
            return Known(name, ticket.number, captures, pins, ticket, None, label)
        end = weakref.ref(fn, partial(self.known.pop, id(fn)))
        entry = Known(name, ticket.number, captures, pins, ticket, end, label)
        _remember(self.known, id(fn), entry, _config.FUNCTIONS_KEPT)
        return entry

    def find(self, fn: Callable[..., Any]) -> Known:
        """Return what is known of a function, learning it first if need be; raises as `learn`."""
        entry = self.known.get(id(fn))
        if entry is None or (entry.captures is not None and not entry.captures.unchanged()):
            return self.learn(fn)
        return entry


def _pins(fn: Callable[..., Any]) -> Mapping[str, Any] | None:
    """Return what `@plait.task` left on a function; a proxy may have any attribute, and of no use."""
    pins = getattr(fn, PINS, None)
    return pins if isinstance(pins, dict) else None


def _remember(kept: dict[Any, Any], key: Any, value: Any, most: int) -> None:
    """Add an entry, as the newest; the oldest go when there are too many."""
    kept.pop(key, None)
    while len(kept) >= most:
        _drop_oldest(kept)
    kept[key] = value


def _drop_oldest(kept: dict[Any, Any]) -> None:
    try:
        kept.pop(next(iter(kept), None), None)
    except RuntimeError:
        # It changed in between: another thread was here, or a function has died. Whoever needs room tries again.
        return


def _captures(fn: Callable[..., Any]) -> Captures | None:
    """List what a function captures, and what the functions among that capture in turn."""
    names: list[tuple[dict[str, Any], str, Any]] = []
    cells: list[tuple[CellType, Any]] = []
    waiting, seen = [fn], {id(fn)}
    while waiting and len(names) + len(cells) < MAX_CAPTURES:
        for found in _captured_by(waiting.pop()):
            value = found[-1]
            if len(found) == 3:
                names.append(found)
            else:
                cells.append(found)
            if id(value) not in seen and _is_by_value(value):
                seen.add(id(value))
                waiting.append(value)
    return Captures(tuple(names), tuple(cells)) if names or cells else None


def _captured_by(fn: Any) -> Iterator[Any]:
    """Yield `(globals, name, value)` and `(cell, value)` of one function."""
    fn = getattr(fn, "__func__", fn)
    if not isinstance(fn, FunctionType):
        return
    for name in _names(fn.__code__):
        yield fn.__globals__, name, fn.__globals__.get(name, _GONE)  # what is not there yet may come
    for cell in fn.__closure__ or ():
        yield cell, _content(cell)


def _names(code: CodeType) -> Iterator[str]:
    """Yield the global names (and attribute names) of a code object and of those within it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _is_by_value(value: Any) -> bool:
    """Whether a captured function is pickled with its own captures: one of `__main__`, or a nested one."""
    return isinstance(value, FunctionType) and (value.__module__ == "__main__" or "<locals>" in value.__qualname__)


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _GONE
