"""Where in an object the thing sits that cannot be pickled."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

#: How deep the search goes.
MAX_DEPTH = 12
#: How many parts of one object it tries.
MAX_PARTS = 1_000
#: How many parts it tries in all: each try is a pickling.
MAX_TRIES = 5_000


def culprit(value: Any, name: str, error: Exception, dump: Callable[[Any], Any]) -> tuple[str, Exception]:
    """Walk down to the innermost part that cannot be pickled, or as far as the objects on the way allow.

    Args:
        value: What could not be pickled as a whole.
        name: What it is called (`args[1]`).
        error: What the pickler raised for the whole.
        dump: Pickles one object, or raises.

    Returns:
        The path to the culprit (`args[1]['cb'].__closure__[0]`) and what the pickler raised for it.
    """
    path, reason, tries = name, error, 0
    seen = {id(value)}
    try:
        for _ in range(MAX_DEPTH):
            for suffix, part in _parts(value):
                tries += 1
                if tries > MAX_TRIES:
                    return path, reason
                if id(part) in seen:
                    continue
                try:
                    dump(part)
                except Exception as deeper:
                    seen.add(id(part))
                    value, path, reason = part, path + suffix, deeper
                    break
            else:
                break
    except Exception:
        pass  # a user's `__getattr__`, `__repr__` or `__iter__` that fails, or gives what it should not
    return path, reason


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the parts of an object, each with how it is reached."""
    for count, part in enumerate(_all_parts(value)):
        if count >= MAX_PARTS:
            return
        yield part


def _all_parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, part in list(value.items()):
            yield f"[{_short(key)}]", part
            yield f".keys()[{_short(key)}]", key
    elif isinstance(value, (list, tuple)):
        yield from ((f"[{i}]", part) for i, part in enumerate(value))
    elif isinstance(value, (set, frozenset)):
        yield from ((f"{{{_short(part)}}}", part) for part in value)
    yield from _function_parts(value)
    yield from _attributes(value)


def _function_parts(value: Any) -> Iterator[tuple[str, Any]]:
    """What a function, a bound method or a partial holds."""
    if (owner := _own(value, "__self__")) is not None and type(owner).__name__ != "module":
        yield ".__self__", owner
    for index, cell in enumerate(_own(value, "__closure__") or ()):
        try:
            yield f".__closure__[{index}]", cell.cell_contents
        except ValueError:
            continue  # an empty cell
    yield from ((f".__defaults__[{i}]", part) for i, part in enumerate(_own(value, "__defaults__") or ()))
    code, names = _own(value, "__code__"), _own(value, "__globals__")
    if code is not None and names is not None:
        yield from ((f".__globals__[{name!r}]", names[name]) for name in code.co_names if name in names)
    if type(value).__name__ == "partial":
        yield ".func", value.func
        yield from ((f".args[{i}]", part) for i, part in enumerate(value.args))
        yield from ((f".keywords[{key!r}]", part) for key, part in value.keywords.items())


def _own(value: Any, name: str) -> Any:
    """An attribute that the type has: an object's `__getattr__` may give anything for any name."""
    return getattr(value, name, None) if hasattr(type(value), name) else None


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, type):
        return
    state = getattr(value, "__dict__", None)
    if isinstance(state, dict):
        yield from ((f".{name}", part) for name, part in list(state.items()))
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(value, name) and not name.startswith("__"):
                yield f".{name}", getattr(value, name)


def _short(key: Any) -> str:
    text = repr(key)
    return text if len(text) <= 80 else text[:77] + "..."
