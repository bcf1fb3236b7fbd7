"""The dispatcher: a thread that exists only while callbacks, `wait`, `as_completed` or asyncio need one.

It pulls the numbers of watched tasks that are over and lets their futures announce it. Callbacks run here.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures._base import LOGGER
from typing import TYPE_CHECKING, Any

from plait import _config
from plait._future import holders_are_busy

if TYPE_CHECKING:
    from collections.abc import Callable

    from plait._future import Future
    from plait._native import Session

#: How long those are waited for, all together, who hold what is to be announced, in seconds.
_PATIENCE_SECONDS = 0.05
#: Who holds it for so long, in seconds, and does not load anything, was interrupted and never lets go.
_HELD_SECONDS = 2.0
#: An empty answer that came faster than this, in seconds, did not wait: the session has ended.
_AT_ONCE_SECONDS = 0.01


class Dispatcher:
    """Announces the end of watched futures of one session.

    Args:
        session: Whose tasks they are.
    """

    __slots__ = ("_held", "_lock", "_thread", "_watched", "session")

    def __init__(self, session: Session) -> None:
        self.session = session
        self._watched: dict[int, Future[Any]] = {}
        #: What is over and could not be announced yet, and since when.
        self._held: dict[int, float] = {}
        self._thread: threading.Thread | None = None
        self._lock = threading.RLock()  # a signal handler or a `__del__` may use futures in the midst of it

    def watch(self, future: Future[Any]) -> bool:
        """Announce this future's end when it comes; False if it has come already."""
        number = _number_of(future)
        with self._lock:
            self._watched[number] = future
            if not future._watch():
                del self._watched[number]
                return False
            self._begin()
        return True

    def call_soon(self, future: Future[Any]) -> None:
        """Call what waits for this future, which is over, in the dispatcher's thread."""
        number = _number_of(future)
        with self._lock:
            self._watched[number] = future
            if not future._watch():  # another thread is loading it: the dispatcher comes across it a moment later
                self._held[number] = time.monotonic()
            self._begin()

    def _begin(self) -> None:
        """Start the thread unless it runs."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="plait-dispatcher", daemon=True)
            thread.start()  # may fail; then the next one to be watched tries again
            self._thread = thread

    def join(self, timeout: float) -> None:
        """Wait until all that was watched is announced, once the session has ended."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def _run(self) -> None:
        last = time.monotonic()
        while True:
            before = time.monotonic()
            over = self.session.next_watched()
            now = time.monotonic()
            ended = not over and now - before < _AT_ONCE_SECONDS
            self._announce([*self._held, *(self._all_over() if ended else over)])
            last = now if over else last
            with self._lock:
                if not self._watched and (ended or now - last > _config.DISPATCHER_IDLE_SECONDS):
                    self._thread = None
                    return

    def _announce(self, over: list[int]) -> None:
        end = time.monotonic() + _PATIENCE_SECONDS
        for number in over:
            with self._lock:
                future = self._watched.pop(number, None)
            try:
                if future is None:
                    self._held.pop(number, None)
                elif not self._announce_one(number, future, end):
                    with self._lock:
                        self._watched[number] = future
            except BaseException:  # noqa: BLE001 - whatever a user's object does here, other futures are told
                LOGGER.exception("exception announcing the end of a plait task")
            del future

    def _announce_one(self, number: int, future: Future[Any], end: float) -> bool:
        """Announce the end of a future, or say that it must wait until others let go of it."""
        now = time.monotonic()
        since = self._held.pop(number, now)
        if holders_are_busy():
            since = now
        if now - since > _HELD_SECONDS:
            future._announce_anyway(_call)
        elif not future._announce_within(max(0.0, end - now), _call):
            self._held[number] = since
            return False
        return True

    def _all_over(self) -> list[int]:
        """Once the session has ended, every future is over; a pause, should one not be."""
        with self._lock:
            over = [number for number, future in self._watched.items() if future.done()]
        if not over:
            time.sleep(_AT_ONCE_SECONDS)
        return over


def _number_of(future: Future[Any]) -> int:
    number = future._seq
    assert number is not None, "what waits was submitted"
    return number


def _call(callback: Callable[[Any], object], future: Future[Any]) -> None:
    """Call a callback; whatever it raises, the others get their turn."""
    try:
        callback(future)
    except BaseException:  # noqa: BLE001 - a SystemExit too: the result of a task may be one
        LOGGER.exception("exception calling callback for %r", future)
