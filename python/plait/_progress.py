"""Progress of a run: a bar on stderr, a callback in the caller's thread, or nothing."""

from __future__ import annotations

import sys
import time
from operator import length_hint
from typing import TYPE_CHECKING, Any, TypeAlias

from plait import _config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    #: None: a bar if stderr is a terminal; True, False: force it; a callable gets `(done, total)`.
    Progress: TypeAlias = bool | Callable[[int, int | None], object] | None


def size_of(iterables: Iterable[Any]) -> int | None:
    """Return how many items `zip` will give, if that is known beforehand."""
    try:
        sizes = [length_hint(items, -1) for items in iterables]
    except Exception:  # noqa: BLE001 - an iterable may have a `__len__` that raises: it has no length, but items
        return None
    return None if not sizes or min(sizes) < 0 else min(sizes)


class Meter:
    """Shows how many of how many are done, at most ten times a second.

    Args:
        progress: As `Client.run` takes it.
        total: How many there will be, if that is known.
        label: What it is about.
    """

    def __init__(self, progress: Progress, total: int | None, label: str) -> None:
        if progress is None:
            progress = _config.progress_allowed() and sys.stderr is not None and sys.stderr.isatty()
        if not isinstance(progress, bool) and not callable(progress):
            raise TypeError(f"progress must be None, True, False or a callable, not {progress!r}")
        self.total = total
        self.done = 0
        self._bar = _bar(total, label) if progress is True else None
        self._call = progress if callable(progress) else None
        self._next = 0.0
        self._told: tuple[int, int | None] | None = None

    @property
    def wanted(self) -> bool:
        """Whether anybody looks."""
        return self._bar is not None or self._call is not None

    def due(self) -> bool:
        """Whether it is time to show something."""
        return self.wanted and time.monotonic() >= self._next

    def show(self, done: int, total: int | None) -> None:
        """Show that `done` of `total` are over."""
        self._next = time.monotonic() + _config.PROGRESS_SECONDS
        self.done, self.total = max(done, self.done), total
        if self._bar is not None:
            self._bar.total = total
            self._bar.update(self.done - self._bar.n)
        if self._call is not None and self._told != (self.done, total):
            self._told = (self.done, total)
            self._call(self.done, total)

    def __enter__(self) -> Meter:
        """Nothing is shown yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the bar on the screen as it is."""
        if self._bar is not None:
            self._bar.close()


def _bar(total: int | None, label: str) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, desc=label or None, file=sys.stderr, dynamic_ncols=True)
