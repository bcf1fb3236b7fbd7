"""Where this code runs: in a user's process, or in an executor, where plait cannot be used yet."""

from __future__ import annotations

from plait._errors import PlaitError

_inside = False


def enter_executor() -> None:
    """Mark this process as an executor, for good."""
    global _inside
    _inside = True


def in_executor() -> bool:
    """Whether this process is an executor (or was forked from one)."""
    return _inside


def refuse_in_executor() -> None:
    """Stop whoever wants to start work from within a task.

    Raises:
        PlaitError: In an executor.
    """
    if _inside:
        raise PlaitError(
            "plait cannot be used inside a task yet: return the pieces and submit them from the client instead"
        )
