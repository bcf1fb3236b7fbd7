"""Task options: what `client.options(…)` and `@plait.task(…)` take, checked where they are given."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from plait._serialize import RetryOn

F = TypeVar("F", bound="Callable[..., Any]")

#: Where `task` leaves the options that it pins to a function.
PINS = "__plait_options__"
#: Parts of one in which amounts of resources are counted.
AMOUNT_SCALE = 10_000
#: The largest whole number that an option takes.
MAX_COUNT = 2**31 - 1
#: The longest label or name of a resource, in bytes of UTF-8.
MAX_LABEL = 256
#: Most named resources of a task.
MAX_RESOURCES = 32


class Options:
    """A checked set of options; never changed, `merged` makes another.

    Attributes:
        cpus: Slots that a task takes, at least 1.
        resources: Named resources that it takes, in ten-thousandths.
        retries: How many of its exceptions are retried.
        retry_on: Which exceptions those are.
        crash_limit: How many executors may die under it.
        priority: Larger runs earlier.
        label: What people see.
        ordered: Whether `map` yields in the order of its input.
        errors: What a failing item means: "raise", "return" or "skip".
        given: What was set by hand, by name.
    """

    __slots__ = (
        "cpus",
        "crash_limit",
        "errors",
        "given",
        "label",
        "ordered",
        "priority",
        "resources",
        "retries",
        "retry_on",
    )

    def __init__(self) -> None:
        self.cpus = 1
        self.resources: tuple[tuple[str, int], ...] = ()
        self.retries = 0
        self.retry_on: RetryOn = Exception
        self.crash_limit = 3
        self.priority = 0
        self.label = ""
        self.ordered = True
        self.errors = "raise"
        self.given: dict[str, Any] = {}

    def merged(self, changes: Mapping[str, Any]) -> Options:
        """Return these options with some changed.

        Raises:
            TypeError: If there is no such option, or a value is of the wrong type.
            ValueError: If a value is out of range.
        """
        return Options.of({**self.given, **checked(changes)})

    def over(self, pins: Mapping[str, Any] | None) -> Options:
        """Return these options, and where they were not set by hand those that a function pins."""
        return self if pins is None else Options.of({**pins, **self.given})

    @classmethod
    def of(cls, given: dict[str, Any]) -> Options:
        """Make options from checked values."""
        made = cls()
        made.given = given
        for name, value in given.items():
            setattr(made, name, value)
        return made


def task(**options: Any) -> Callable[[F], F]:
    """Pin options to a function: a decorator that leaves calling it alone.

    `client.options(…)` has the last word where both set the same option.

    Args:
        **options: As `Client.options` takes them.

    Returns:
        The decorator; it returns the very function that it is given.

    Raises:
        TypeError: If there is no such option, a value is of the wrong type, or the function takes no attributes.
        ValueError: If a value is out of range.

    Example:
        >>> import plait
        >>> @plait.task(retries=3)
        ... def fetch(url):
        ...     return len(url)
        >>> fetch("abc")
        3
    """
    pins = checked(options)

    def pin(fn: F) -> F:
        if not callable(fn):
            raise TypeError(f"@plait.task goes on a function, not on {fn!r}")
        setattr(fn, PINS, {**getattr(fn, PINS, {}), **pins})
        return fn

    return pin


def checked(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as `Options` holds them.

    Raises:
        TypeError: If there is no such option, or a value is of the wrong type.
        ValueError: If a value is out of range.
    """
    unknown = [name for name in options if name not in _CHECKS]
    if unknown:
        raise TypeError(f"unknown option {unknown[0]!r}; there are: {', '.join(_CHECKS)}")
    return {name: _CHECKS[name](name, value) for name, value in options.items()}


def whole(name: str, value: Any, low: int, high: int = MAX_COUNT) -> int:
    """Return a whole number within its bounds.

    Raises:
        TypeError: If it is no int (a bool is none).
        ValueError: If it is out of range.
    """
    if isinstance(value, bool) or not hasattr(type(value), "__index__"):
        raise TypeError(f"{name} must be an int, not {value!r}")
    number = int(value.__index__())
    if not low <= number <= high:
        raise ValueError(
            f"{name} must be at least {low}, not {number}" if number < low else f"{name} is too large: {number}"
        )
    return number


def _resources(name: str, value: Any) -> tuple[tuple[str, int], ...]:
    if not hasattr(value, "items"):
        raise TypeError(f"{name} must be a dict of names and amounts, not {value!r}")
    if len(value) > MAX_RESOURCES:
        raise ValueError(f"{name} must not name more than {MAX_RESOURCES} resources")
    amounts = []
    for key, amount in value.items():
        if not isinstance(key, str) or not key:
            raise TypeError(f"the name of a resource must be a string, not {key!r}")
        _label("the name of a resource", key)
        if isinstance(amount, bool) or not isinstance(amount, (int, float)):
            raise TypeError(f"the amount of resource {key!r} must be a number, not {amount!r}")
        if not (isfinite(amount) and 0 <= amount <= MAX_COUNT):
            raise ValueError(f"the amount of resource {key!r} must not be negative or endless, not {amount}")
        amounts.append((key, round(amount * AMOUNT_SCALE)))
    return tuple(sorted(amounts))


def _retry_on(name: str, value: Any) -> RetryOn:
    classes = value if isinstance(value, tuple) else (value,)
    if not classes or not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in classes):
        raise TypeError(f"{name} must be an exception class or a tuple of them, not {value!r}")
    checked_classes: RetryOn = value
    return checked_classes


def _label(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, not {value!r}")
    if len(value.encode()) > MAX_LABEL:
        raise ValueError(f"{name} must not be longer than {MAX_LABEL} bytes")
    return value


def _ordered(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {value!r}")
    return value


def _errors(name: str, value: Any) -> str:
    if value not in ("raise", "return", "skip"):
        raise ValueError(f"{name} must be 'raise', 'return' or 'skip', not {value!r}")
    return str(value)


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "cpus": lambda name, value: whole(name, value, 1),
    "resources": _resources,
    "retries": lambda name, value: whole(name, value, 0),
    "retry_on": _retry_on,
    "crash_limit": lambda name, value: whole(name, value, 1),
    "priority": lambda name, value: whole(name, value, -MAX_COUNT),
    "label": _label,
    "ordered": _ordered,
    "errors": _errors,
}
