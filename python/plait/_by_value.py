"""Classes and functions that travel by value: cloudpickle, but for what it does to classes, and what it cannot do of
`functools`. Imported once it is needed.

An instance that comes back brings its class along, as it is in the executor. cloudpickle finds the class that this
process sent and writes what arrived over it: methods get other globals, and what was set meanwhile is set back. Here a
class that this process has sent is its own and stays as it is; an executor takes what it is given, so that a class that
the user has changed arrives there changed. And a class with `__slots__` is made again with them: without, its instances
come back with a `__dict__` that the class of the user has no place for.

Code keeps the name of its file, if it has one, for tracebacks; cloudpickle takes it away.
"""

from __future__ import annotations

import functools
import io
import operator
import sys
from types import CodeType
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import cloudpickle

from plait import _context

if TYPE_CHECKING:
    from collections.abc import Callable

#: The classes that this process has pickled by value, by identity: a metaclass may compare as it likes.
_sent: WeakValueDictionary[int, type] = WeakValueDictionary()


def dumps(value: Any, buffer_callback: Callable[[Any], Any] | None) -> bytes:
    """Pickle what is not importable by value; raises whatever pickling raises."""
    with io.BytesIO() as file:
        _Pickler(file, protocol=5, buffer_callback=buffer_callback).dump(value)
        return file.getvalue()


def fill_class(cls: type, given: tuple[Callable[[type, Any], Any], Any]) -> None:
    """Give a class that came by value its state, unless it is this process's own: pickles call this.

    Args:
        cls: The class: just made, or the one that cloudpickle knows by the number it came with.
        given: cloudpickle's function that fills it, and the state.
    """
    if _context.in_executor() or _sent.get(id(cls)) is not cls:
        fill, state = given
        fill(cls, state)


_reduce_code = cloudpickle.Pickler.dispatch_table[CodeType]
_reduce = cloudpickle.Pickler.reducer_override
#: What cloudpickle says in the place of the file that code comes from.
_NO_FILE = "<dynamic-code>"
#: What `functools.lru_cache` and `cache` make of a function.
_Cached = functools._lru_cache_wrapper


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    """cloudpickle's, with `fill_class` in the place of its own function. What has another form stays as it is."""

    def reducer_override(self, obj: Any) -> Any:
        """Return how to make a class or a function again, as `pickle` asks for it."""
        reduced = _reduce(self, obj)
        if reduced is NotImplemented:  # most often
            return _with_file(obj) if type(obj) is CodeType else _reduce_of_functools(obj)
        if type(reduced) is not tuple or len(reduced) != 6 or not issubclass(type(obj), type):
            return reduced
        make, args, state, _, _, fill = reduced
        if not _context.in_executor():
            _sent[id(obj)] = obj
        return make, _with_slots(obj, args), (fill, state), None, None, fill_class


def _with_file(code: CodeType) -> Any:
    """Return how to make code again, with the name of its file: tracebacks show that, and lines where it is there."""
    make, args, *rest = _reduce_code(code)
    if code.co_filename.startswith("<"):
        # Made up, and often anew each time: there is no line to show, and equal code is to stay equal.
        return make, args, *rest
    file = next((index for index, arg in enumerate(args) if type(arg) is str), None)
    if file is not None and args[file] == _NO_FILE:  # as cloudpickle 3.1 has it
        args = (*args[:file], code.co_filename, *args[file + 1 :])
    return make, args, *rest


def _reduce_of_functools(obj: Any) -> Any:
    """Return how to make again what wraps something that travels by value."""
    if type(obj) is _Cached and not _is_importable(obj):
        return _cached, (obj.__wrapped__, obj.cache_parameters())
    if type(obj) is functools.cached_property and hasattr(obj, "lock"):  # before Python 3.12
        return _cached_property, (obj.func, obj.attrname)
    return NotImplemented


def _is_importable(fn: Any) -> bool:
    """Whether others find this very object where it says that it is, as cloudpickle judges functions."""
    module = fn.__module__
    if module == "__main__" or module in cloudpickle.list_registry_pickle_by_value():
        return False
    try:
        return operator.attrgetter(fn.__qualname__)(sys.modules[module]) is fn
    except (AttributeError, KeyError):
        return False


def _cached(fn: Callable[..., Any], parameters: dict[str, Any]) -> Callable[..., Any]:
    """Make a function that remembers what it returned: from now on."""
    remember: Callable[[Callable[..., Any]], Callable[..., Any]] = functools.lru_cache(**parameters)
    return remember(fn)


def _cached_property(fn: Callable[[Any], Any], name: str | None) -> functools.cached_property[Any]:
    made = functools.cached_property(fn)
    made.attrname = name
    return made


def _with_slots(cls: type, args: Any) -> Any:
    """Return what cloudpickle makes a class of, with its slots: they count only while it is made."""
    slots = cls.__dict__.get("__slots__")
    if slots is None or len(args) < 4 or type(args[3]) is not dict:
        return args
    return (*args[:3], {"__slots__": slots, **args[3]}, *args[4:])
