"""`Results`: a map as an iterator with a bounded window; one native ticket a message, no futures."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from plait import _config
from plait._core import failure_among
from plait._errors import SerializationError, error_from
from plait._future import not_loadable, note_of
from plait._serialize import dump_call, dump_items, load_chunk, load_error, load_value, too_large
from plait._types import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from plait._core import Core
    from plait._errors import RawOutcome
    from plait._functions import Known
    from plait._native import Ticket
    from plait._options import Options

T = TypeVar("T")

#: One item: the arguments of one call.
Item = tuple[Any, ...]
#: What became of an item: itself, its value, its error, how long it ran.
Verdict = tuple[Item, Any, BaseException | None, float | None]


class Sent:
    """A message on its way: its items, its ticket, or why it was never sent."""

    __slots__ = ("chunk", "error", "items", "size", "ticket")

    def __init__(self, items: list[Item], ticket: Ticket | None, size: int, error: BaseException | None = None) -> None:
        self.items = items
        self.ticket = ticket
        self.size = size
        self.error = error
        self.chunk = False

    def is_over(self) -> bool:
        """Whether there is something to take."""
        return self.ticket is None or self.ticket.state() == "done"


class Results(Generic[T]):
    """The results of a `map`, as they come; an iterator that threads may share.

    Leaving the loop, dropping the iterator or calling `close` cancels what is left. With `errors="return"` it yields
    `Outcome`s.

    Example:
        >>> import itertools, plait
        >>> with plait.Client(slots=2) as client:
        ...     results = client.map(abs, itertools.count(-2))
        ...     [next(results), next(results), results.close()]
        [2, 1, None]
    """

    def __init__(
        self,
        core: Core,
        entry: Known,
        options: Options,
        iterables: tuple[Iterable[Any], ...],
        timeout: float | None,
        chunksize: int | None,
        buffersize: int | None,
    ) -> None:
        """Start at once: plait's own business, `Client.map` does it."""
        self._sent: deque[Sent] = deque()
        self._ready: deque[T] = deque()
        self._source: Iterator[Item] | None = None
        self._core = core
        self._entry = entry
        self._options = options
        self._number = core.define_options(options)
        # Chunks retry item by item, so the chunk as a whole must not.
        self._chunk_number = core.define_options(options.merged({"retries": 0})) if chunksize else self._number
        self._chunksize = chunksize
        self._buffersize = buffersize
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._failure: BaseException | None = None
        self._items_out = 0
        self._bytes_out = 0
        self._given = 0
        self._closed = False
        self._turn = threading.RLock()
        self._source = zip(*iterables, strict=False)
        try:
            self._fill()
        except BaseException as error:
            self._give_up(error)
            raise

    def __iter__(self) -> Results[T]:
        """Return itself."""
        return self

    def __next__(self) -> T:
        """Wait for the next result.

        Raises:
            StopIteration: When there are no more.
            TimeoutError: When the time given to `map` is up; the rest is cancelled.
            Exception: With `errors="raise"` that of an item, and whatever an iterable raised; the rest is cancelled.
        """
        with self._turn:
            return self._next()

    def _next(self) -> T:
        try:
            while not self._ready:
                self._fill()
                if not self._sent:
                    self._end()
                self._take()
            self._items_out -= 1
            value = self._ready.popleft()
            self._fill()
        except BaseException as error:
            self._give_up(error)
            raise
        self._given += 1
        return value

    def _give_up(self, error: BaseException) -> None:
        """Cancel the rest: after Ctrl-C too, also in the midst of reading items, which cannot be gone on with."""
        if isinstance(error, KeyboardInterrupt):
            error.add_note(f"plait: cancelled a map of {self._name()}; {self._given:,} results had been taken")
        self.close()

    def close(self) -> None:
        """Cancel what is left, running or not; the iterator is then exhausted."""
        self._closed = True
        self._source = None
        self._failure = None
        self._ready.clear()
        left = [sent.ticket for sent in self._sent if sent.ticket is not None]
        self._sent.clear()
        if left and not self._core.ended:
            self._core.session.cancel_running(left)

    def __del__(self) -> None:
        """Leaving the loop cancels the rest."""
        if self._sent and self._core.pid == os.getpid():
            self.close()

    # Out.

    def _fill(self) -> None:
        """Send items until the window is full or there are no more."""
        while (source := self._source) is not None and (room := self._room()) > 0:
            items: list[Item] = []
            try:
                items.extend(islice(source, room))
                if not items:
                    self._source = None
            except Exception as error:  # noqa: BLE001 - the user's iterable; told once what came before is taken
                self._source, self._failure = None, error
            if items:
                self._send_or_stop(items)
        if self._closed and self._sent:
            self.close()  # another thread did, while this one was sending

    def _send_or_stop(self, items: list[Item]) -> None:
        """Send items; if that fails, say so once what went before is taken."""
        try:
            self._send(items)
        except Exception as error:
            if not self._sent and not self._ready and not self._given:
                raise
            self._source, self._failure = None, error

    def _room(self) -> int:
        """How many items the next message may have."""
        size = self._chunksize or 1
        if self._buffersize is not None:
            return min(size, self._buffersize - self._items_out)
        if self._bytes_out >= _config.WINDOW_BYTES and self._sent:
            return 0
        full = len(self._sent) + len(self._ready) // size >= _config.WINDOW_PER_SLOT * self._core.slots()
        return 0 if full else size

    def _send(self, items: list[Item]) -> None:
        self._items_out += len(items)
        if self._chunksize is not None:
            sent = self._chunk(items)
            if sent is not None:
                self._add(sent)
                return
        for item in items:
            self._add(self._single(item))

    def _add(self, sent: Sent) -> None:
        self._sent.append(sent)
        self._bytes_out += sent.size

    def _single(self, item: Item) -> Sent:
        try:
            segments, inputs = dump_call(item, {})
        except SerializationError as error:
            return Sent([item], None, 0, error)
        failed = failure_among(self._core, inputs)
        if failed is not None:
            return Sent([item], None, 0, failed)
        try:
            ticket = self._core.session.submit_item(self._entry.number, self._number, segments, inputs)
        except SerializationError as refused:
            return Sent([item], None, 0, too_large(refused, item, {}))
        return Sent([item], ticket, sum(map(len, segments)))

    def _chunk(self, items: list[Item]) -> Sent | None:
        """Send items as one message; None if they have to go one by one, to tell which of them cannot be sent."""
        try:
            segments, inputs = dump_items(items)
        except SerializationError:
            return None
        if failure_among(self._core, inputs) is not None:
            return None
        try:
            ticket = self._core.session.submit_chunk(
                self._entry.number, self._chunk_number, segments, inputs, self._options.retries
            )
        except SerializationError:
            return None
        sent = Sent(items, ticket, sum(map(len, segments)))
        sent.chunk = True
        return sent

    # In.

    def _take(self) -> None:
        """Wait for a message that is over and make its results ready."""
        sent = next(iter(self._sent), None) if self._options.ordered else self._wait_for_any()
        if sent is None:
            return
        outcome = self._wait(sent) if sent.ticket is not None else None
        try:
            self._sent.remove(sent)
        except ValueError:
            return  # the map was stopped meanwhile, perhaps by another thread
        self._bytes_out -= sent.size
        before = len(self._ready)
        for item, value, error, seconds in self._verdicts(sent, outcome):
            if error is not None and self._options.errors == "raise":
                self._stop(error)
                return
            if self._options.errors == "return":
                value = self._outcome(item, value, error, sent.ticket, seconds)
            if error is None or self._options.errors == "return":
                self._ready.append(value)
        self._items_out -= len(sent.items) - (len(self._ready) - before)

    def _wait(self, sent: Sent) -> RawOutcome | None:
        """Wait for a message's outcome; if the map was stopped meanwhile there is none."""
        outcome = sent.ticket.outcome(self._left()) if sent.ticket is not None else None
        if outcome is None:
            raise TimeoutError(f"{self._given:,} results were there in time")
        return outcome

    def _wait_for_any(self) -> Sent | None:
        """Wait until a message is over; there is none once another thread has closed the map."""
        while waiting := tuple(self._sent):
            for sent in waiting:
                if sent.is_over():
                    return sent
            tickets = [sent.ticket for sent in waiting if sent.ticket is not None]
            if not self._core.session.wait_any(tickets, self._left()):
                raise TimeoutError(f"{self._given:,} results were there in time")
        return None

    def _left(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def _verdicts(self, sent: Sent, outcome: RawOutcome | None) -> Iterator[Verdict]:
        """Yield what became of each item of a message."""
        error: BaseException | None = sent.error
        if outcome is not None and sent.ticket is not None:
            if outcome[0] == "value":
                try:
                    verdicts = _values(sent, sent.ticket, outcome[1])
                except KeyboardInterrupt:
                    raise
                except BaseException as raised:  # noqa: BLE001 - the user's class may raise anything
                    error = not_loadable(raised)
                else:
                    yield from verdicts
                    return
            else:
                error = error_from(outcome, load_error, note_of(sent.ticket.seq, sent.ticket.story()))
        for item in sent.items:
            yield item, None, error, None

    def _stop(self, error: BaseException) -> None:
        """Cancel the rest; the error follows what is ready."""
        ready, self._ready = self._ready, deque()
        self.close()
        self._ready, self._failure = ready, error

    def _outcome(
        self, item: Item, value: Any, error: BaseException | None, ticket: Ticket | None, seconds: float | None
    ) -> Outcome:
        _, worker, run_micros, _ = (ticket.story() if ticket is not None else None) or (0, None, 0, 0)
        took = run_micros / 1e6 if seconds is None else seconds
        return Outcome(item[0] if len(item) == 1 else item, value, error, took, worker)

    def _end(self) -> None:
        failure, self._failure = self._failure, None
        try:
            if isinstance(failure, StopIteration):
                # As itself it would look like the end of the map.
                raise RuntimeError(f"an item of a map of {self._name()} raised StopIteration") from failure
            raise StopIteration if failure is None else failure
        finally:
            del failure  # else the traceback, this frame and the exception hold each other

    def _name(self) -> str:
        return self._entry.name


def _values(sent: Sent, ticket: Ticket, segments: Any) -> list[Verdict]:
    """Load what a message came to, item by item."""
    if not sent.chunk:
        return [(sent.items[0], load_value(segments), None, None)]
    values, failures, seconds, _ = load_chunk(segments)
    verdicts: list[Verdict] = []
    for index, item in enumerate(sent.items):
        error = load_error([failures[index]], note_of(ticket.seq, ticket.story())) if index in failures else None
        verdicts.append((item, values[index], error, seconds[index] if seconds else None))
    return verdicts
