"""Memory as the machine feels it: proportional set sizes, in which a shared page counts once, however many map it."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from types import TracebackType

#: How often the peak is looked for, in seconds.
LOOK_SECONDS = 0.02


def parents() -> dict[int, int]:
    """The parent of every process."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
                found[int(entry)] = int(fields[1])
    return found


def descendants(pid: int) -> list[int]:
    """The processes below one."""
    parent_of = parents()
    found = [pid]
    for ancestor in found:
        found += [child for child, parent in parent_of.items() if parent == ancestor]
    return found[1:]


def pss(pid: int) -> int:
    """A process's proportional set size, in bytes; 0 once it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    return 0


def pss_of_all() -> int:
    """That of this process and all below it, in bytes."""
    me = os.getpid()
    return sum(pss(pid) for pid in (me, *descendants(me)))


class Peak:
    """Looks from a thread for the most that this process and all below it take, above what it took before, bytes."""

    def __init__(self, before: int) -> None:
        self._before = before
        self._most = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            self._most = max(self._most, pss_of_all())

    @property
    def growth(self) -> int:
        """Bytes above the beginning."""
        return max(0, self._most - self._before)
