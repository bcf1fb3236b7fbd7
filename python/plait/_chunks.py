"""How many items go in one message, where plait chooses: by what items cost, what they weigh, and how many are left."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from plait import _config

if TYPE_CHECKING:
    from collections.abc import Callable


class Sizer:
    """Sizes the chunks of one map, and keeps on sizing them.

    The first chunks are single items, so that the first results come at once. Then chunks grow to some milliseconds of
    work, and shrink again towards an end that can be foreseen. They stay small where it takes long to read their items:
    no result should wait until a slow source has given a large chunk.

    Between `size` and `sent` the items are read: the clock is looked at there, once for a chunk.

    Args:
        left: How many items there will be, if that is known.
        clock: Seconds since whenever.
    """

    __slots__ = ("_began", "_bytes", "_clock", "_left", "_measured", "_reading", "_seconds")

    def __init__(self, left: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._left = left
        self._clock = clock
        self._began: float | None = None
        self._measured = 0
        self._seconds = 0.0
        self._bytes = 0.0
        self._reading = 0.0

    @property
    def knows(self) -> bool:
        """Whether anything was measured yet."""
        return self._measured > 0

    @property
    def weight(self) -> float:
        """Bytes of an item, of its arguments or of its result, as far as is known."""
        return self._bytes

    @property
    def seconds(self) -> float:
        """Seconds that an item runs, as far as is known."""
        return self._seconds

    @property
    def reading(self) -> float:
        """Seconds that it takes to read an item from its source, as far as is known."""
        return self._reading

    def begin(self) -> None:
        """Take note that the next items are read from now on; to ask for their `size` does so too."""
        self._began = self._clock()

    def size(self, slots: int) -> int:
        """Return how many items the next chunk should have, at least 1, which are read from now on."""
        self.begin()
        if not self._measured:
            return 1
        size = min(self._measured * _config.CHUNK_GROWTH, _config.CHUNK_ITEMS)
        if self._seconds:
            size = min(size, int(_config.CHUNK_SECONDS / self._seconds))
        if self._bytes:
            size = min(size, int(_config.CHUNK_BYTES / self._bytes))
        if self._reading:
            size = min(size, int(_config.CHUNK_READ_SECONDS / self._reading))
        if self._left is not None and size * 2 * slots > self._left:
            least = int(_config.CHUNK_LEAST_SECONDS / self._seconds) if self._seconds else 1
            size = min(size, max(self._left // (2 * slots), least))
        return max(1, size)

    def sent(self, items: int) -> None:
        """Take note of items that were read and are sent."""
        if self._began is not None:
            each = (self._clock() - self._began) / items
            self._reading, self._began = max(each, (self._reading + each) / 2), None
        if self._left is not None:
            self._left = max(0, self._left - items)

    def learn(self, items: int, seconds: float, weight: int) -> None:
        """Take note of what a chunk cost, in seconds of run time and in bytes. More counts at once, less by half."""
        self._seconds = max(seconds / items, (self._seconds + seconds / items) / 2)
        self._bytes = max(weight / items, (self._bytes + weight / items) / 2)
        self._measured = max(self._measured, items)
