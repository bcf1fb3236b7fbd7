"""Runs: a function over many pieces, and one way to bring the results together."""

from __future__ import annotations

from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

from plait import _config
from plait._core import failure_among
from plait._errors import SerializationError
from plait._future import CANCELLED, end_of
from plait._map import Results
from plait._progress import Meter, size_of
from plait._serialize import dump_call, dump_error, dump_value, load_error, load_given, refusal, too_large
from plait._types import Told
from plait._witness import Witness, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import EllipsisType

    from plait._core import Core
    from plait._functions import Known
    from plait._native import Ticket
    from plait._options import Options
    from plait._progress import Progress

#: After so many pieces a run looks whether it has failed already.
_LOOK_EVERY = 64


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
        window = super()._window(slots)
        return max(window, _config.RUN_WINDOW) if self._sizer.knows else window

    def _wait(self, sent: Any) -> Any:
        """Wait for the first piece, with an eye on those behind it: a failure there ends the run too."""
        while True:
            outcome = sent.ticket.outcome(_config.PROGRESS_SECONDS)
            if outcome is not None:
                return outcome
            self.show()
            if self._options.errors == "raise":
                self._look_ahead()
                if not self._sent:
                    return None

    def _look_ahead(self) -> None:
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
        try:
            opened = core.session.open_reduce(merge.number, started, options.errors, _finish(core, options))
        except SerializationError as refused:
            raise refusal(refused, "initial") from None
        run = _Run(core, entry, options, opened, meter)
        value = run.go(iterables)
    if value is not _NOTHING:
        return value
    if initial is ...:
        raise TypeError("reduce of no results at all, and no initial value")
    return initial


def run_combined(
    core: Core,
    fn: Callable[..., Any],
    entry: Known,
    combine: Known,
    options: Options,
    iterables: tuple[Iterable[Any], ...],
    progress: Progress,
) -> Any:
    """Return what `combine` makes of the list of all results."""
    called = entry
    if options.errors == "return":
        called = core.functions(options).learn(Witness(fn, options.retry_on, options.retries))
        options = options.merged({"retries": 0})
    with Meter(progress, size_of(iterables), _label(options, entry)) as meter:
        opened = core.session.open_combine(combine.number, options.errors, _finish(core, options))
        return _Run(core, called, options, opened, meter).go(iterables)


#: What a fold of nothing comes to.
_NOTHING = object()


class _Run:
    """A run in the making: pieces go in, one outcome comes out."""

    def __init__(self, core: Core, called: Known, options: Options, opened: tuple[int, Ticket], meter: Meter) -> None:
        self.core = core
        self.called = called
        self.number = core.define_options(options)
        self.functions = core.functions(options)
        self.errors = options.errors
        self.run, self.ticket = opened
        self.meter = meter
        self.pieces = 0

    def go(self, iterables: tuple[Iterable[Any], ...]) -> Any:
        """Send the pieces, wait for the end."""
        try:
            self._send(iterables)
            self.core.session.seal_run(self.run, self.pieces)
            return self._wait()
        except BaseException as error:
            self.core.session.cancel_running([self.ticket])
            if isinstance(error, KeyboardInterrupt):
                done = self.core.session.progress(self.run)
                error.add_note(f"plait: cancelled a run; {done:,} of its {self.pieces:,} pieces so far were done")
            raise

    def _send(self, iterables: tuple[Iterable[Any], ...]) -> None:
        for item in zip(*iterables, strict=False):
            self._piece(item)
            if self.pieces % _LOOK_EVERY == 0 and self.ticket.state() == "done":
                return
            if self.meter.due():
                self.meter.show(self.core.session.progress(self.run), self.meter.total)

    def _piece(self, item: tuple[Any, ...]) -> None:
        try:
            segments, inputs = dump_call(item, {})
        except SerializationError as error:
            return self._not_sent(error, None)
        failed = failure_among(self.core, inputs)
        if failed is not None:
            return self._not_sent(failed, load_given(segments))
        try:
            self._submit(self.called, segments, inputs)
        except SerializationError as refused:
            self._not_sent(too_large(refused, item, {}), None)

    def _submit(self, called: Known, segments: list[Any], inputs: list[Any]) -> None:
        self.core.session.submit_piece(self.run, called.number, self.number, segments, inputs)
        self.pieces += 1

    def _not_sent(self, error: Exception, item: Any) -> None:
        """See to an item that cannot be sent: the combine is told of it, as of any other failure."""
        if self.errors == "raise":
            raise error from None
        if self.errors == "return":
            segments, _ = dump_call((Told(item, None, load_error(dump_error(error))),), {})
            self._submit(self.functions.find(say), segments, [])

    def _wait(self) -> Any:
        if self.meter.wanted:
            while self.ticket.state() != "done":
                self.meter.show(self.core.session.progress(self.run), self.pieces)
                self.core.session.wait_any([self.ticket], _config.PROGRESS_SECONDS)
        outcome = self.ticket.outcome()
        assert outcome is not None, "without a timeout there is an outcome"
        if outcome[0] == "skipped":
            return _NOTHING
        error, value = end_of(outcome, self.ticket.seq, self.ticket.story)
        if error is None:
            self.meter.show(self.pieces, self.pieces)
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
