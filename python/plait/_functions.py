"""Functions of a session: each function is pickled once, and again when something that it captures was rebound.

What is captured through classes, partials, defaults and small containers of functions counts too. A change *inside* any
other captured object is not seen. Other callables are pickled whenever they are used.

Nothing here keeps a user's function alive: an entry goes with its function, unless that captures itself, as a class of
its own does; then it goes as the oldest of too many. The session knows a function as long as somebody holds its
`FunctionTicket`: an entry, a run or a map under way, or the list of pickles made lately, which spares a lambda made
anew for each task its journey.
"""

from __future__ import annotations

import sys
import weakref
from functools import _lru_cache_wrapper, cached_property, partial, partialmethod
from operator import is_
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, ModuleType, NoneType
from typing import TYPE_CHECKING, Any, NamedTuple

from plait import _config
from plait._errors import SerializationError
from plait._options import PINS
from plait._serialize import dump_function, refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from plait._native import FunctionTicket, Session
    from plait._serialize import RetryOn

#: Captured names and cells that are watched for each function, and functions, classes and containers that are looked
#: into to find them. It bounds what a submit costs, at some 30 ns each.
MAX_CAPTURES = 1_000
#: Parts of containers that are looked at to find functions in them; what has more is taken for data. It bounds what
#: looking costs beside pickling.
MAX_PARTS = 10_000

#: What is pickled once, by its true type; all of it can be weakly referenced. Anything else (a bound method, a partial,
#: an object with `__call__`) may hold other things the next time; so may a builtin that is bound to an object.
_REMEMBERED = (FunctionType, BuiltinFunctionType, type)

#: What a builtin may be bound to and still stay the same: nothing, its module, or a class (`int.from_bytes`).
_FIXED = (NoneType, ModuleType, type)

_GONE = object()

#: What may hold functions and is looked into, by its true type: how to have its parts.
_INSIDE: dict[type, Callable[[Any], Iterable[Any]]] = {
    partial: lambda made: (made.func, *made.args, *made.keywords.values()),
    partialmethod: lambda made: (made.func, *made.args, *made.keywords.values()),
    MethodType: lambda method: (method.__func__, method.__self__),
    staticmethod: lambda method: (method.__func__,),
    classmethod: lambda method: (method.__func__,),
    property: lambda made: (made.fget, made.fset, made.fdel),
    cached_property: lambda made: (made.func,),
    _lru_cache_wrapper: lambda made: (made.__wrapped__,),
    dict: dict.values,
    list: iter,
    set: iter,
    tuple: iter,
    frozenset: iter,
}
#: Those that may have many parts, and no function among them.
_SIZED = (dict, list, set, tuple, frozenset)


class Captures(NamedTuple):
    """What a by-value function took along: names, cells and things with parts, each with what it held."""

    #: Of globals, of classes, of what is set on functions, of dicts.
    names: tuple[tuple[Mapping[Any, Any], Any, Any], ...]
    cells: tuple[tuple[CellType, Any], ...]
    #: With their size, and with their parts if these have no names.
    wholes: tuple[tuple[Collection[Any], int, tuple[Any, ...]], ...]

    def unchanged(self) -> bool:
        """Whether each still holds the same objects."""
        for names, name, value in self.names:  # asked before each task: no generator
            if names.get(name, _GONE) is not value:
                return False
        for cell, value in self.cells:
            if _content(cell) is not value:
                return False
        for whole, size, parts in self.wholes:
            if len(whole) != size or (parts and not all(map(is_, whole, parts))):
                return False
        return True


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
        if not (issubclass(type(fn), _REMEMBERED) and isinstance(getattr(fn, "__self__", None), _FIXED)):
            return Known(name, ticket.number, None, pins, ticket, None, label)
        captures = _Search(fn).captures() if by_value else None
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


class _Search:
    """What a function captures, and what the functions, classes and containers among that capture in turn."""

    def __init__(self, fn: Any) -> None:
        self._names: dict[tuple[int, Any], tuple[Mapping[Any, Any], Any, Any]] = {}
        self._cells: list[tuple[CellType, Any]] = []
        self._wholes: list[tuple[Collection[Any], int, tuple[Any, ...]]] = []
        # Code comes first: what it names is found before the bound is reached by what is in containers.
        self._code: list[Any] = [fn]
        self._others: list[Any] = []
        self._seen = {id(fn)}
        self._room = MAX_PARTS

    def captures(self) -> Captures | None:
        """Search; None if there is nothing to watch."""
        while (waiting := self._code or self._others) and max(self._size(), len(self._seen)) < MAX_CAPTURES:
            self._look_into(waiting.pop())
        if not self._size():
            return None
        return Captures(tuple(self._names.values()), tuple(self._cells), tuple(self._wholes))

    def _size(self) -> int:
        return len(self._names) + len(self._cells) + len(self._wholes)

    def _look_into(self, value: Any) -> None:
        kind = type(value)
        if kind is FunctionType:
            self._look_into_function(value)
        elif issubclass(kind, type):
            self._follow((kind, *value.__bases__, *value.__dict__.values()))
            self._watch_all(value.__dict__)
        elif self._follow(tuple(_INSIDE[kind](value))):
            if kind is dict:
                self._watch_all(value)
            elif kind in (list, set):
                self._wholes.append((value, len(value), tuple(value)))

    def _look_into_function(self, fn: FunctionType) -> None:
        for name in _names(fn.__code__):
            value = fn.__globals__.get(name, _GONE)  # what is not there yet may come
            self._watch(fn.__globals__, name, value)
            self._follow((value,))
        for cell in fn.__closure__ or ():
            self._cells.append((cell, _content(cell)))
            self._follow((_content(cell),))
        self._follow((*(fn.__defaults__ or ()), *(fn.__kwdefaults__ or {}).values(), *fn.__dict__.values()))
        if fn.__dict__:
            self._watch_all(fn.__dict__)

    def _watch(self, names: Mapping[Any, Any], name: Any, value: Any) -> None:
        self._names[id(names), name] = (names, name, value)

    def _watch_all(self, names: Mapping[Any, Any]) -> None:
        """Watch each name, and that none is added."""
        for name, value in tuple(names.items()):
            self._watch(names, name, value)
        self._wholes.append((names, len(names), ()))

    def _follow(self, values: Iterable[Any]) -> bool:
        """Look into these later, where there may be anything; whether there are functions or classes among them."""
        found = False
        for value in values:
            kind = type(value)
            if kind is FunctionType or issubclass(kind, type):
                follows, waiting = _is_by_value(value), self._code
                found |= follows
            elif kind in _SIZED:
                follows, waiting = self._room >= len(value) > 0, self._others
            elif kind in _INSIDE:
                follows, waiting, found = True, self._code, True
            else:
                value, follows, waiting = kind, _is_by_value(kind), self._code  # an object brings its class
            if follows and id(value) not in self._seen:
                self._seen.add(id(value))
                waiting.append(value)
                self._room -= len(value) if waiting is self._others else 0
        return found


def _names(code: CodeType) -> Iterator[str]:
    """Yield the global names (and attribute names) of a code object and of those within it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _is_by_value(value: FunctionType | type) -> bool:
    """Whether a captured function or class is pickled with its own captures: one of `__main__`, or a nested one."""
    return value.__module__ == "__main__" or "<locals>" in value.__qualname__


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _GONE
