"""Runs: a function over many pieces, and one way to bring the results together."""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import CancelledError
from itertools import islice
from typing import TYPE_CHECKING, Any

from plait import _config
from plait._chunks import Sizer
from plait._core import failure_among
from plait._errors import SerializationError
from plait._future import CANCELLED, end_of
from plait._map import Results
from plait._progress import Meter, size_of
from plait._serialize import (
    TIMED,
    TOLD,
    TUPLES,
    dump_items,
    dump_packed,
    dump_value,
    is_plain,
    load_given,
    pack_failed,
    pack_item,
    refusal,
    too_large,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import EllipsisType

    from plait._core import Core
    from plait._functions import Known
    from plait._map import Items
    from plait._native import Ticket
    from plait._options import Options
    from plait._progress import Progress


def run_listed(
    core: Core, entry: Known, options: Options, iterables: tuple[Iterable[Any], ...], progress: Progress
) -> list[Any]:
    """Return the list of all results."""
    with Meter(progress, size_of(iterables), _label(options, entry)) as meter:
        results = _Listed(core, entry, options.merged({"ordered": True}), iterables, meter)
        values = list(results)
        results.show()
    return values


class _Listed(Results[Any]):
    """A map whose results are all kept: its window is wide, and it looks ahead for failures."""

    def __init__(
        self, core: Core, entry: Known, options: Options, iterables: tuple[Iterable[Any], ...], meter: Meter
    ) -> None:
        self._meter = meter
        self._next_glance = 0.0
        super().__init__(core, entry, options, iterables, None, None, None)

    def _start(self) -> None:
        if self._options.errors == "raise":
            # No result is wanted beside an error, so a chunk may as well fail.
            self._chunk_errors = "raise"
            self._final |= {"raised"}
        super()._start()

    def _refill(self) -> None:
        super()._refill()
        if self._meter.due():
            self.show()

    def show(self) -> None:
        """Show how many pieces are over."""
        if self._meter.wanted:
            given = self._passed - self._ready()
            over = sum(len(sent.items) for sent in self._sent if sent.is_over())
            sent = sum(len(sent.items) for sent in self._sent)
            self._meter.show(given + over, self._meter.total if self._source is not None else self._passed + sent)

    def _window(self, slots: int) -> int:
        return _config.PIECES_PER_SLOT * slots if self._sizer.knows else super()._window(slots)

    def _most_ahead(self, slots: int) -> int:
        return max(super()._most_ahead(slots), _config.RUN_WINDOW)

    def _wait(self, sent: Any) -> Any:
        """Wait for the first piece, with an eye on those behind it."""
        while True:
            outcome = sent.ticket.outcome(_config.PROGRESS_SECONDS)
            if outcome is not None:
                return outcome
            self._glance()
            if not self._sent:
                return None

    def _wait_for_one(self, tickets: list[Ticket]) -> bool:
        self._core.session.wait_any(tickets, _config.PROGRESS_SECONDS)
        self._glance()
        return True

    def _glance(self) -> None:
        """Now and then show how far it is, and end it if something behind the first message has failed."""
        now = time.monotonic()
        if now < self._next_glance:
            return
        self._next_glance = now + _config.PROGRESS_SECONDS
        self.show()
        if self._options.errors == "raise":
            self._look_ahead()

    def _look_ahead(self) -> None:
        self._take_over_ends()
        for sent in self._sent:
            error = sent.error
            if error is None and sent.ticket is not None and sent.ticket.failed():
                outcome = sent.ticket.outcome(0.0)
                if not sent.chunk or (outcome is not None and outcome[0] in self._final):
                    _, error = self._results(sent, outcome)
            if error is not None:
                self._stop(error)
                return


def run_reduced(
    core: Core,
    entry: Known,
    merge: Known,
    options: Options,
    iterables: tuple[Iterable[Any], ...],
    initial: Any | EllipsisType,
    progress: Progress,
) -> Any:
    """Return what the results fold to, in order; nothing folds to `initial`."""
    with Meter(progress, size_of(iterables), _label(options, entry)) as meter:
        started = None if initial is ... else dump_value(initial, "initial")

        def opened(finish: int) -> tuple[int, Ticket]:
            try:
                return core.session.open_reduce(merge.number, started, options.errors, finish)
            except SerializationError as refused:
                raise refusal(refused, "initial") from None

        value = _Run(core, entry, merge, options, opened, iterables, meter).go()
    if value is not _NOTHING:
        return value
    if initial is ...:
        raise TypeError("reduce of no results at all, and no initial value")
    return initial


def run_combined(
    core: Core,
    entry: Known,
    combine: Known,
    options: Options,
    iterables: tuple[Iterable[Any], ...],
    progress: Progress,
) -> Any:
    """Return what `combine` makes of the list of all results."""
    with Meter(progress, size_of(iterables), _label(options, entry)) as meter:

        def opened(finish: int) -> tuple[int, Ticket]:
            return core.session.open_combine(combine.number, options.errors, finish)

        return _Run(core, entry, None, options, opened, iterables, meter).go()


#: What a fold of nothing comes to.
_NOTHING = object()


class _Run:
    """A run in the making: pieces go in, chunks whose size follows what items cost; one outcome comes out."""

    def __init__(
        self,
        core: Core,
        called: Known,
        merge: Known | None,
        options: Options,
        opened: Callable[[int], tuple[int, Ticket]],
        iterables: tuple[Iterable[Any], ...],
        meter: Meter,
    ) -> None:
        self.core = core
        self.called = called
        #: Every piece names it, so the session has to know it until the last one is sent.
        self.merge = merge
        self.options = options
        self.number = core.define_options(options)
        self.source: Iterable[Any] = iterables[0] if len(iterables) == 1 else zip(*iterables, strict=False)
        self.meter = meter
        self.sizer = Sizer(size_of(iterables))
        self.kind = (0 if len(iterables) == 1 else TUPLES) | (TIMED | TOLD if options.errors == "return" else 0)
        self.pieces = self.items = self.bytes = 0
        #: How many items there were after each piece that may be on the way; what went one by one is as one.
        self.ends: deque[int] = deque()
        #: What was over when costs were last learnt from it.
        self.learnt = (0, 0, 0.0, 0)
        # Last: a run that is opened and not sealed is pending until its ticket is dropped.
        self.run, self.ticket = opened(_finish(core, options))

    def go(self) -> Any:
        """Send the pieces, wait for the end."""
        try:
            self._send()
            self.core.session.seal_run(self.run, self.pieces)
            return self._wait()
        except BaseException as error:
            self.core.session.cancel_running([self.ticket])
            if isinstance(error, KeyboardInterrupt):
                done = self.core.session.progress(self.run)[0]
                error.add_note(f"plait: cancelled a run; {done:,} of its {self.items:,} pieces so far were done")
            raise

    # Out.

    def _send(self) -> None:
        rest = iter(self.source)
        read = 0
        while (room := self._room()) > 0:
            items: Items = self.source[read : read + room] if type(self.source) is range else list(islice(rest, room))
            if not items:
                return
            read += len(items)
            self.sizer.sent(len(items))
            if not self._many(items):
                for item in items:
                    self._one(item)
            self.ends.append(self.items)

    def _room(self) -> int:
        """How many items the next piece may have, once there is room for it; none if the run is over already."""
        slots = self.core.slots()
        while True:
            done = self._learn()
            while self.ends and self.ends[0] <= done:
                self.ends.popleft()
            if self.meter.due():
                self.meter.show(done, self.meter.total)
            if self.ticket.state() == "done":
                return 0
            if len(self.ends) < (_config.PIECES_PER_SLOT if self.sizer.knows else _config.WINDOW_PER_SLOT) * slots:
                return self.sizer.size(slots)
            self.core.session.wait_progress(self.ticket, done, _config.PROGRESS_SECONDS)

    def _learn(self) -> int:
        """Take note of what pieces have cost since the last look; returns how many items are over."""
        progress = self.core.session.progress(self.run)
        done, pieces, seconds, weight = progress
        items, pieces = done - self.learnt[0], pieces - self.learnt[1]
        if pieces:
            each = max(1, items // pieces)
            share = each / items
            sent = self.bytes / self.items
            self.sizer.learn(
                each, (seconds - self.learnt[2]) * share, int(max(sent * each, (weight - self.learnt[3]) * share))
            )
            self.learnt = progress
        return done

    def _many(self, items: Items) -> bool:
        """Send items as one piece; False if they have to go one by one, to tell which of them cannot be sent."""
        try:
            # Where one failure is not the end of all, no item may be the failure of another.
            if self.options.errors == "raise" or is_plain(self.kind, items):
                segments, inputs = dump_items(self.kind, items)
            else:
                segments, inputs = self._packed(items)
            if inputs:
                return False  # each begins as soon as its own are there
            self._submit(segments, [], len(items))
        except SerializationError:
            return False
        return True

    def _packed(self, items: Items) -> tuple[list[Any], list[Any]]:
        packed = []
        for item in items:
            one, inputs = pack_item(self.kind, item)
            if inputs:
                return [], inputs
            packed.append(one)
        return dump_packed(self.kind, packed), []

    def _one(self, item: Any) -> None:
        """Send an item as a piece, or see to its failure."""
        try:
            packed, inputs = pack_item(self.kind, item)
        except SerializationError as error:
            return self._not_sent(error, None)
        failed = failure_among(self.core, inputs)
        if failed is not None:
            return self._not_sent(failed, load_given(packed))
        try:
            self._submit(dump_packed(self.kind, [packed]), inputs, 1)
        except SerializationError as refused:
            self._not_sent(too_large(refused, item if self.kind & TUPLES else (item,), {}), None)

    def _not_sent(self, error: Exception, item: Any) -> None:
        """See to an item that cannot be sent: the combine is told of it, as of any other failure."""
        if self.options.errors == "raise":
            raise error from None
        if self.options.errors == "return":
            self._submit(dump_packed(self.kind, [pack_failed(error, item)]), [], 1)

    def _submit(self, segments: list[Any], inputs: list[Any], items: int) -> None:
        merge = None if self.merge is None else self.merge.number
        self.core.session.submit_piece(
            self.run,
            self.called.number,
            self.number,
            segments,
            inputs,
            self.options.errors,
            self.options.retries,
            items,
            merge,
        )
        self.pieces += 1
        self.items += items
        self.bytes += sum(map(len, segments))

    # In.

    def _wait(self) -> Any:
        if self.meter.wanted:
            while self.ticket.state() != "done":
                done = self.core.session.progress(self.run)[0]
                self.meter.show(done, self.items)
                self.core.session.wait_progress(self.ticket, done, _config.PROGRESS_SECONDS)
        outcome = self.ticket.outcome()
        assert outcome is not None, "without a timeout there is an outcome"
        if outcome[0] == "skipped":
            return _NOTHING
        error, value = end_of(outcome, self.ticket.seq, self.ticket.story)
        if error is None:
            self.meter.show(self.items, self.items)
            return value
        try:
            raise CancelledError if error is CANCELLED[0] else error
        finally:
            del error  # else the traceback, this frame and the exception hold each other


def _finish(core: Core, options: Options) -> int:
    """The options of the tasks that finish a run: like those of its pieces, but a slot and no named resources."""
    return core.define_options(options.merged({"cpus": 1, "resources": {}}))


def _label(options: Options, entry: Known) -> str:
    return options.label or entry.label


__all__ = ["run_combined", "run_listed", "run_reduced"]
