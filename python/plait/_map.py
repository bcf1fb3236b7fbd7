"""`Results`: a map as an iterator with a bounded window; one native ticket a message, no futures."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from plait import _config
from plait._chunks import Sizer
from plait._core import failure_among
from plait._errors import SerializationError, error_from
from plait._future import not_loadable, note_of
from plait._native import Batches
from plait._progress import size_of
from plait._serialize import (
    BRIEF,
    BRIEF_SECONDS,
    FIRST,
    TIMED,
    TUPLES,
    dump_call,
    dump_items,
    load_error,
    load_parts,
    load_value,
    too_large,
)
from plait._types import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TypeAlias

    from plait._core import Core
    from plait._errors import RawOutcome
    from plait._functions import Known
    from plait._native import Ticket
    from plait._options import Options
    from plait._serialize import Part

    #: Items of one message: of one iterable as they are, of several the tuples of arguments.
    Items: TypeAlias = list[Any] | range

T = TypeVar("T")

#: What a chunk can come to that another try, item by item, would not change.
_FINAL = frozenset({"value", "cancelled", "lost", "unknown"})


class Sent:
    """A message on its way: its items, its ticket, or why it was never sent."""

    __slots__ = ("chunk", "error", "items", "part", "seen", "size", "ticket")

    def __init__(self, items: Items, ticket: Ticket | None, size: int, error: BaseException | None = None) -> None:
        self.items = items
        self.ticket = ticket
        self.size = size
        self.error = error
        self.chunk = False
        #: What the items of a chunk came to, once that is known.
        self.part: Part | None = None
        #: Whether it was looked at before its turn.
        self.seen = False

    def is_over(self) -> bool:
        """Whether there is something to take."""
        return self.is_told() or (self.ticket is not None and self.ticket.state() == "done")

    def is_told(self) -> bool:
        """Whether nothing more is to be heard of it."""
        return self.ticket is None or self.part is not None

    def may_lack(self) -> bool:
        """Whether it is a chunk that is over and took so long that it may have given some of its items back."""
        story = self.ticket.story() if self.chunk and self.ticket is not None and self.part is None else None
        return story is not None and story[2] >= BRIEF_SECONDS * 1e6


class Results(Batches, Generic[T]):
    """The results of a `map`, as they come; an iterator that threads may share.

    Leaving the loop, dropping the iterator or calling `close` cancels what is left. With `errors="return"` it yields
    `Outcome`s.

    Raises:
        TimeoutError: By `next`, when the time given to `map` is up; the rest is cancelled.
        Exception: By `next`, with `errors="raise"` that of an item, and whatever an iterable raised; the rest is
            cancelled.

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
        self._held: deque[T] = deque()
        self._source: Iterator[Any] | None = None
        self._core = core
        self._entry = entry
        self._options = options
        self._number = core.define_options(options)
        # Chunks retry item by item, so the chunk as a whole must not.
        self._chunk_number = core.define_options(options.merged({"retries": 0}))
        self._chunk_errors = "return"
        self._final = _FINAL
        self._chunksize = chunksize
        self._buffersize = buffersize
        self._sizer = Sizer(size_of(iterables))
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._failure: BaseException | None = None
        self._items_out = 0
        self._bytes_out = 0
        self._passed = 0
        self._closed = False
        self._turn = threading.RLock()
        self._kind = (
            (0 if len(iterables) == 1 else TUPLES)
            | (TIMED if options.errors == "return" else 0)
            | (FIRST if options.errors == "raise" else 0)
            | (BRIEF if chunksize is None else 0)
        )
        self._items: Iterable[Any] = iterables[0] if len(iterables) == 1 else zip(*iterables, strict=False)
        self._source = iter(self._items)
        self._read = 0
        try:
            self._start()
        except BaseException as error:
            self._give_up(error)
            raise

    def _start(self) -> None:
        self._fill()

    def _refill(self) -> None:
        """Make the next results ready: one batch, or one result where a buffersize counts them."""
        with self._turn:
            if self._ready():
                return
            try:
                self._next()
            except BaseException as error:
                self._give_up(error)
                raise

    def _give_up(self, error: BaseException) -> None:
        """Cancel the rest: after Ctrl-C too, also in the midst of reading items, which cannot be gone on with."""
        if isinstance(error, KeyboardInterrupt):
            taken = self._passed - self._ready()
            error.add_note(f"plait: cancelled a map of {self._name()}; {taken:,} results had been taken")
        self.close()

    def _next(self) -> None:
        while not self._held and not self._ready():
            self._fill()
            if not self._sent:
                self._end()
            self._take()
        if self._held:
            self._pass_on([self._held.popleft()])
            self._items_out -= 1
        self._fill()

    def _pass_on(self, values: list[T]) -> None:
        self._passed += len(values)
        self._put(values)

    def close(self) -> None:
        """Cancel what is left, running or not; the iterator is then exhausted."""
        self._closed = True
        self._source = None
        self._failure = None
        self._held.clear()
        self._put([])
        left = [sent.ticket for sent in self._sent if sent.ticket is not None and sent.part is None]
        self._sent.clear()
        if left and not self._core.ended:
            self._core.session.cancel_running(left)

    def __del__(self) -> None:
        """Leaving the loop cancels the rest, if there is any: Ctrl-C may have come before `__init__` had begun."""
        if getattr(self, "_sent", None) and self._core.pid == os.getpid():
            self.close()

    # Out.

    def _fill(self) -> None:
        """Send items until the window is full, there are no more, or results would wait for a slow source."""
        while self._source is not None and (room := self._room()) > 0 and not self._is_due(room):
            self._send_next(room)
        if self._closed and self._sent:
            self.close()  # another thread did, while this one was sending

    def _is_due(self, room: int) -> bool:
        """Whether there are results which should not wait until a window of such messages is read.

        Not where reading is quicker than the slots are: these are to be kept busy while the program is at its results.
        """
        slots, reading = self._core.slots(), self._sizer.reading
        if (
            reading * room * self._window(slots) <= _config.WINDOW_READ_SECONDS
            or reading * slots <= self._sizer.seconds
        ):
            return False
        sent = tuple(self._sent)
        first = sent[:1] if self._options.ordered else sent
        return bool(self._held or self._ready()) or any(one.is_over() for one in first)

    def _send_next(self, room: int) -> None:
        """Send a message of so many items, or as many as there are."""
        items: Items = []
        self._sizer.begin()
        try:
            items = self._next_items(room)
            if not items:
                self._source = None
        except _Broken as broken:
            items, self._source, self._failure = broken.items, None, broken.__cause__
        if items:
            self._send_or_stop(items)

    def _next_items(self, room: int) -> Items:
        """Read the next items; a list is cut, a range not even unrolled.

        Raises:
            _Broken: If the user's iterable raises.
        """
        if type(self._items) is range or type(self._items) is list:
            self._read += room
            return self._items[self._read - room : self._read]
        items: list[Any] = []
        try:
            items.extend(islice(self._source or (), room))
        except Exception as error:
            raise _Broken(items) from error
        return items

    def _send_or_stop(self, items: Items) -> None:
        """Send items; if that fails, say so once what went before is taken."""
        try:
            self._send(items)
        except Exception as error:
            if not self._sent and not self._held and not self._passed:
                raise
            self._source, self._failure = None, error

    def _room(self) -> int:
        """How many items the next message may have."""
        slots = self._core.slots()
        size = self._chunksize or self._sizer.size(slots)
        if self._buffersize is not None:
            fair = size if self._chunksize else max(1, min(size, self._buffersize // (2 * slots)))
            return min(fair, self._buffersize - self._items_out)
        if self._bytes_out >= _config.WINDOW_BYTES and self._sent:
            return 0
        return size if len(self._sent) < self._window(slots) else 0

    def _window(self, slots: int) -> int:
        """How many messages may be on the way."""
        return _config.WINDOW_PER_SLOT * slots

    def _most_ahead(self, slots: int) -> int:
        """How many messages there may be while the first one holds up the others."""
        return _config.HELD_UP_PER_SLOT * slots

    def _send(self, items: Items) -> None:
        self._items_out += len(items)
        self._sizer.sent(len(items))
        if len(items) > 1 or self._chunksize:
            sent = self._chunk(items)
            if sent is not None:
                self._add(sent)
                return
        for item in items:
            self._add(self._single(item))

    def _add(self, sent: Sent) -> None:
        self._sent.append(sent)
        self._bytes_out += sent.size

    def _single(self, item: Any) -> Sent:
        args = item if self._kind & TUPLES else (item,)
        try:
            segments, inputs = dump_call(args, {})
        except SerializationError as error:
            return Sent([item], None, 0, error.with_traceback(None))
        failed = failure_among(self._core, inputs)
        if failed is not None:
            return Sent([item], None, 0, failed)
        try:
            ticket = self._core.session.submit_item(self._entry.number, self._number, segments, inputs)
        except SerializationError as refused:
            return Sent([item], None, 0, too_large(refused, args, {}))
        return Sent([item], ticket, sum(map(len, segments)))

    def _chunk(self, items: Items) -> Sent | None:
        """Send items as one message; None if they have to go one by one, to tell which of them cannot be sent."""
        try:
            segments, inputs = dump_items(self._kind, items)
        except SerializationError:
            return None
        if inputs and not self._chunksize:
            return None  # each begins as soon as its own are there
        if failure_among(self._core, inputs) is not None:
            return None
        try:
            ticket = self._core.session.submit_chunk(
                self._entry.number,
                self._chunk_number,
                segments,
                inputs,
                self._chunk_errors,
                self._options.retries,
                len(items),
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
        if self._options.ordered and self._chunksize is None and self._buffersize is None:
            self._run_ahead(sent)
        outcome = None if sent.is_told() else self._wait(sent)
        if self._closed:
            return  # meanwhile, perhaps by another thread
        try:
            sent = self._opened(sent, outcome)
        except _NotTold:
            self._replace(sent, self._again(sent.items))
            return
        self._replace(sent, [])
        values, error = self._results(sent, outcome)
        self._items_out -= len(sent.items)
        if error is not None:
            self._stop(error)
        if self._buffersize is not None:
            self._held.extend(values)
            self._items_out += len(values)
        else:
            self._pass_on(values)

    def _replace(self, sent: Sent, by: list[Sent]) -> None:
        """Put others in the place of a message. Where another thread has closed the map, `_fill` sees to them."""
        try:
            place = self._sent.index(sent)
            del self._sent[place]
        except (ValueError, IndexError):
            place = 0
        for one in reversed(by):
            self._sent.insert(place, one)
        self._bytes_out += sum(one.size for one in by) - sent.size

    def _take_over(self, sent: Sent) -> bool:
        """Put what the end of a chunk has become for slots that were idle, if anything, behind the chunk."""
        if not sent.chunk or sent.ticket is None or sent.part is not None or not (parts := sent.ticket.parts()):
            return False
        ends = [first for first, _ in parts[1:]] + [len(sent.items)]
        taken = [Sent(sent.items[first:end], ticket, 0) for (first, ticket), end in zip(parts, ends, strict=True)]
        for one in taken:
            one.chunk = True
        sent.items = sent.items[: parts[0][0]]
        self._replace(sent, [sent, *taken])
        return True

    def _opened(self, sent: Sent, outcome: RawOutcome | None) -> Sent:
        """Put its parts in the place of a chunk that is over, and send again between them what none of them has.

        Returns the first of them; any other message as it is.

        Raises:
            _NotTold: If a chunk does not say what its items came to.
        """
        if not sent.chunk or outcome is None or sent.ticket is None:
            return sent
        self._take_over(sent)
        if outcome[0] not in self._final:
            raise _NotTold
        if outcome[0] != "value":
            return sent
        try:
            parts: list[Part] = _load(load_parts, outcome[1])
        except _NotLoadable as failed:
            raise _NotTold from failed
        self._measure(sum(len(part[1]) for part in parts), sent, sent.ticket, outcome[1])
        opened: list[Sent] = []
        ends = [part[0] - parts[0][0] for part in parts[1:]] + [len(sent.items)]
        for part, end in zip(parts, ends, strict=True):
            first = part[0] - parts[0][0]
            done = first + len(part[1])
            opened.append(Sent(sent.items[first:done], sent.ticket, 0))
            opened[-1].chunk, opened[-1].part = True, part
            if done < end and not (part[2] and self._options.errors == "raise"):
                opened += self._again(sent.items[done:end])
        opened[0].size = sent.size
        self._replace(sent, opened)
        return opened[0]

    def _again(self, items: Items) -> list[Sent]:
        """Send items of a chunk again, in smaller ones and at last alone, whatever others cost.

        So whatever made it fail hits the one that brings it about, and whatever made it take long holds up no other.
        """
        size = -(-len(items) // _config.CHUNK_PARTS)
        again: list[Sent] = []
        for start in range(0, len(items), size):
            part = items[start : start + size]
            sent = self._chunk(part) if size > 1 else None
            again += [sent] if sent is not None else [self._single(item) for item in part]
        return again

    def _run_ahead(self, first: Sent) -> None:
        """While the first message takes long, see to it that slots have something to do.

        More is sent in the place of those behind it that are over, and what they have given back is sent again.
        """
        if first.ticket is None or first.is_told():
            return
        session, patience = self._core.session, _config.HELD_UP_SECONDS
        while session.wait_any([first.ticket], min(patience, self._left() or patience)):
            if not self._take_over(first):
                return
        while not first.is_over() and not self._closed and self._left() != 0.0:
            ahead = self._look_behind()
            slots = self._core.slots()
            if self._source is not None and len(ahead) < self._window(slots) and self._may_run_ahead():
                self._send_next(self._sizer.size(slots))
            elif not self._wait_for_one(ahead):
                return

    def _look_behind(self) -> list[Ticket]:
        """Open chunks behind the first message that may have given something back; return what is not over."""
        self._take_over_ends()
        while over := [sent for sent in tuple(self._sent)[1:] if not sent.seen and sent.is_over()]:
            for sent in over:
                sent.seen = True
                self._take_over(sent)
                if sent.may_lack() and sent.ticket is not None:
                    try:
                        self._opened(sent, sent.ticket.outcome(0.0))
                    except _NotTold:
                        pass  # it is seen to in its turn
        return [sent.ticket for sent in tuple(self._sent) if not sent.seen and sent.ticket is not None]

    def _take_over_ends(self) -> bool:
        """Take over what the ends of chunks have become; whether there was anything."""
        divided = [sent for sent in tuple(self._sent) if not sent.seen and self._take_over(sent)]
        return bool(divided)

    def _wait_for_one(self, tickets: list[Ticket]) -> bool:
        """Wait until one of these messages is over; False if the time is up."""
        return self._core.session.wait_any(tickets, self._left())

    def _may_run_ahead(self) -> bool:
        """Whether there is room for one more, beyond those that are over and cannot be passed on yet."""
        few = len(self._sent) < self._most_ahead(self._core.slots())
        weight = max(self._bytes_out, self._items_out * self._sizer.weight)
        return few and weight < _config.WINDOW_BYTES and not self._closed

    def _wait(self, sent: Sent) -> RawOutcome | None:
        """Wait for a message's outcome; if the map was stopped meanwhile there is none."""
        outcome = sent.ticket.outcome(self._left()) if sent.ticket is not None else None
        if outcome is None:
            raise TimeoutError(f"{self._passed:,} results were there in time")
        return outcome

    def _wait_for_any(self) -> Sent | None:
        """Wait until a message is over; there is none once another thread has closed the map."""
        while waiting := tuple(self._sent):
            for sent in waiting:
                if sent.is_over():
                    return sent
            if self._take_over_ends():
                continue
            tickets = [sent.ticket for sent in waiting if sent.ticket is not None]
            if not self._core.session.wait_any(tickets, self._left()):
                raise TimeoutError(f"{self._passed:,} results were there in time")
        return None

    def _left(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def _results(self, sent: Sent, outcome: RawOutcome | None) -> tuple[list[Any], BaseException | None]:
        """Return what is to be yielded for a message, and the error that is to follow it, if any."""
        if sent.part is not None and sent.ticket is not None:
            return self._results_of_part(sent, sent.part, sent.ticket)
        if outcome is None or sent.ticket is None:
            assert sent.error is not None, "what was not sent has an error"
            return self._failures(sent, sent.error)
        if outcome[0] != "value":
            return self._failures(sent, error_from(outcome, load_error, note_of(sent.ticket.seq, sent.ticket.story())))
        try:
            value = _load(load_value, outcome[1])
        except _NotLoadable as failed:
            return self._failures(sent, not_loadable(failed.raised))
        self._measure(1, sent, sent.ticket, outcome[1])
        if self._options.errors == "return":
            value = self._outcome(sent.items[0], value, None, sent.ticket, None)
        return [value], None

    def _results_of_part(self, sent: Sent, part: Part, ticket: Ticket) -> tuple[list[Any], BaseException | None]:
        _, values, failures, seconds = part
        errors = self._options.errors
        if not failures and errors != "return":
            return values, None
        if errors == "raise":
            first = min(failures)
            return values[:first], load_error([failures[first]], note_of(ticket.seq, ticket.story()))
        if errors == "skip":
            return [value for index, value in enumerate(values) if index not in failures], None
        outcomes = []
        for index, item in enumerate(sent.items):
            error = load_error([failures[index]], note_of(ticket.seq, ticket.story())) if index in failures else None
            took = seconds[index] if seconds else None
            outcomes.append(self._outcome(item, values[index], error, ticket, took))
        return outcomes, None

    def _failures(self, sent: Sent, error: BaseException) -> tuple[list[Any], BaseException | None]:
        """Return what a message comes to of which every item has this error."""
        if self._options.errors == "raise":
            return [], error
        if self._options.errors == "skip":
            return [], None
        return [self._outcome(item, None, error, sent.ticket, None) for item in sent.items], None

    def _measure(self, items: int, sent: Sent, ticket: Ticket, segments: Any) -> None:
        if self._chunksize is None and (story := ticket.story()) is not None:
            self._sizer.learn(items, story[2] / 1e6, max(sent.size, sum(map(len, segments))))

    def _stop(self, error: BaseException) -> None:
        """Cancel the rest; the error follows what is ready."""
        held, self._held = self._held, deque()
        self.close()
        self._held, self._failure = held, error

    def _outcome(
        self, item: Any, value: Any, error: BaseException | None, ticket: Ticket | None, seconds: float | None
    ) -> Outcome:
        _, worker, run_micros, _ = (ticket.story() if ticket is not None else None) or (0, None, 0, 0)
        took = run_micros / 1e6 if seconds is None else seconds
        return Outcome(item, value, error, took, worker)

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


class _Broken(Exception):
    """The user's iterable raised, which is the cause; it had given these items before."""

    def __init__(self, items: list[Any]) -> None:
        super().__init__()
        self.items = items


class _NotLoadable(Exception):
    """A value could not be unpickled."""

    def __init__(self, raised: BaseException) -> None:
        super().__init__()
        self.raised = raised


def _load(load: Callable[[Any], Any], segments: Any) -> Any:
    try:
        return load(segments)
    except KeyboardInterrupt:
        raise
    except BaseException as raised:  # the user's class may raise anything
        raise _NotLoadable(raised) from raised


class _NotTold(Exception):
    """A chunk came to something that says nothing of its items."""
