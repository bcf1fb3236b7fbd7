"""Classes and functions that travel by value: cloudpickle, but for what it does to classes. Imported once it is needed.

An instance that comes back brings its class along, as it is in the executor. cloudpickle finds the class that this
process sent and writes what arrived over it: methods get other globals, and what was set meanwhile is set back. Here a
class that this process has sent is its own and stays as it is; an executor takes what it is given, so that a class that
the user has changed arrives there changed. And a class with `__slots__` is made again with them: without, its instances
come back with a `__dict__` that the class of the user has no place for.
"""

from __future__ import annotations

import io
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


_reduce = cloudpickle.Pickler.reducer_override


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    """cloudpickle's, with `fill_class` in the place of its own function. What has another form stays as it is."""

    def reducer_override(self, obj: Any) -> Any:
        """Return how to make a class or a function again, as `pickle` asks for it."""
        reduced = _reduce(self, obj)
        if reduced is NotImplemented:  # most often
            return reduced
        if type(reduced) is not tuple or len(reduced) != 6 or not issubclass(type(obj), type):
            return reduced
        make, args, state, _, _, fill = reduced
        if not _context.in_executor():
            _sent[id(obj)] = obj
        return make, _with_slots(obj, args), (fill, state), None, None, fill_class


def _with_slots(cls: type, args: Any) -> Any:
    """Return what cloudpickle makes a class of, with its slots: they count only while it is made."""
    slots = cls.__dict__.get("__slots__")
    if slots is None or len(args) < 4 or type(args[3]) is not dict:
        return args
    return (*args[:3], {"__slots__": slots, **args[3]}, *args[4:])
