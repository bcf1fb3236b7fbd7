"""The compiled half of plait: private, described by hand.

Whatever waits here does so without the GIL and looks for signals every 50 ms. Only `FutureBase.result`,
`Submitter.submit`, `ExecutorChannel.run` and `Batches.__next__` call back into Python.
"""

from collections.abc import Callable, Iterator, Sequence
from pickle import PickleBuffer
from typing import Any, Literal, Self, SupportsIndex, final

from typing_extensions import Buffer as SupportsBuffer
from typing_extensions import disjoint_base

__all__ = [
    "Batches",
    "Buffer",
    "Claims",
    "ExecutorChannel",
    "FunctionTicket",
    "FutureBase",
    "Runtime",
    "Session",
    "Submitter",
    "Ticket",
    "__version__",
    "after_fork_in_child",
    "names_main",
    "read_join_file",
    "run_worker",
    "serve_coordinator",
    "status",
]

__version__: str

@disjoint_base
class Batches:
    """An iterator over values that come in batches; threads may share it. Subclasses have `_refill`.

    `_refill` is called when there is nothing left: it puts the next batch, or raises what ends the iteration.
    """

    def __new__(cls, *_args: object, **_kwargs: object) -> Self: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> Any: ...
    def _ready(self) -> int:
        """Return how many values are there."""

    def _put(self, values: list[Any]) -> None:
        """Take the values of a list over in place of what there was."""

@final
class Buffer:
    """Bytes that arrived, seen without a copy through the buffer protocol; writable, and nobody else's."""

    def __len__(self) -> int: ...
    def __reduce_ex__(self, protocol: SupportsIndex, /) -> tuple[type[bytearray], tuple[PickleBuffer]]: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class Claims:
    """The items of a chunk that its executor may begin; fewer than it was given once the worker has cut the chunk."""

    def __iter__(self) -> Self: ...
    def __next__(self) -> Any:
        """Begin an item: from here on the death of this process is blamed on it."""

    @property
    def taken(self) -> int:
        """How many items have begun."""

    @property
    def left(self) -> bool:
        """Whether there is another one."""

    @property
    def is_forked(self) -> bool:
        """Whether this process is one that was forked since: the items are its parent's."""

    def end_after(self, seconds: float) -> None:
        """Begin no other once so many seconds have passed, or some milliseconds later; never earlier."""

    def settle(self) -> None:
        """Begin no other; what happens now is the fault of no item."""

@final
class ExecutorChannel:
    """An executor's channel to its worker; used by its main thread alone."""

    @staticmethod
    def open() -> ExecutorChannel:
        """Make this process an executor; the channel is its standard input.

        Raises:
            OSError: If no worker started this process.
        """

    inside: bool
    """Whether a task runs: its unpickling, its function, the pickling of its result."""
    cancelled: bool
    """Whether the worker asked the task at hand to stop."""
    changed: bool
    """Whether a task has changed its surroundings: then `run` leaves its end to Python."""

    broken: bool
    """Whether an import was interrupted: this process ends with the order at hand."""

    def run(self) -> tuple[Any, ...] | None:
        """Run the plain orders among those at hand; return what is left to Python, or None if nothing is at hand.

        Returns:
            An order that is not plain: call, function (None if not loaded yet), args, inputs, detail. Or what became of
            a plain one that is not: 5 as its call and the value that the function returned as its args, or 6 and the
            exception that it raised.
        """

    def wait(self) -> bool:
        """Send what has ended and wait for an order, which `run` then finds; False when the worker is gone."""

    def body(self, which: int) -> list[SupportsBuffer]:
        """Return the pickled function of the order at hand: 0 for its own, 1 for the one that merges.

        Raises:
            RuntimeError: If the worker did not send it.
        """

    def keep(self, which: int, function: object) -> None:
        """Have the unpickled function come with later orders."""

    def claims(self, rest: Iterator[Any]) -> Claims:
        """Return the items of the chunk at hand, given those from the first that is meant, each claimed as it is taken.

        Raises:
            RuntimeError: If no order is at hand.
        """

    def finish(self, ending: int, segments: SupportsBuffer | Sequence[SupportsBuffer]) -> bool:
        """End the order at hand; False in a process that must end: a broken one, or one that the task forked.

        Args:
            ending: 0 returned, 1 raised and worth a retry, 2 raised and not, 3 skipped, 4 cancelled.
            segments: The pickled value or exception, or nothing.
        """

    def interrupted(self) -> int:
        """Tell whom an interrupt was meant for: 0 came from elsewhere, 1 is to stop what runs, 2 came too late."""

    def task(self) -> str:
        """Return the name of the attempt at hand, for logs."""

@final
class FunctionTicket:
    """A function that the session knows. When it is dropped, the function must not be named any more."""

    @property
    def number(self) -> int:
        """The function's number in its session."""

@final
class Ticket:
    """A submitted task that may be asked for. When it is dropped, nobody can ask any more."""

    @property
    def seq(self) -> int:
        """The task's number in its session."""

    def outcome(self, timeout: float | None = None) -> tuple[Any, ...] | None:
        """Wait for the outcome: a word and what belongs to it (see `_errors.error_from`).

        Asked again, it tells the same.

        Args:
            timeout: In seconds; None for as long as it takes, 0 for a mere look.

        Returns:
            The outcome, or None if the time is up.
        """

    def failed(self) -> bool:
        """Whether the task is over and has no value."""

    def state(self) -> str:
        """Where the task is: "pending", "running" or "done"."""

    def story(self) -> tuple[int, str | None, int, int] | None:
        """Tell how it went, once it is over: attempts, worker, microseconds of the last attempt and in all."""

    def parts(self) -> list[tuple[int, Ticket]]:
        """Take over what the end of a chunk has become, for slots that were idle, since this was last asked.

        Returns:
            Tasks, each with the index of its first item among those of the chunk: it has them up to the next one's, or
            to where the chunk ended before. Until they are taken over they share the fate of the chunk.
        """

@disjoint_base
class FutureBase:
    """A future's native half: the task it stands for and what it came to. Let go of, nobody can ask for the task.

    Args:
        owner: The client's core.
        end: What it has come to, if no task is to be submitted for it.
    """

    def __new__(cls, owner: object, end: tuple[BaseException | None, Any] | None = None) -> Self: ...
    def result(self, timeout: float | None = None) -> Any:
        """Wait for the task and return its value.

        Ctrl-C while it waits cancels the task, running or not.

        Args:
            timeout: How long to wait, in seconds; None for as long as it takes.

        Raises:
            TimeoutError: When the time is up.
            CancelledError: When it was cancelled.
            Exception: Whatever the task raised; a `PlaitError` where plait could not get it done.
        """

    def done(self) -> bool:
        """Whether the task is over or cancelled."""

    @property
    def _owner(self) -> Any:
        """The client's core."""

    @property
    def _seq(self) -> int | None:
        """The task's number in its session; None if it was never submitted."""

    @property
    def _end(self) -> tuple[BaseException | None, Any] | None:
        """What it has come to: an exception (or None) and a value; None as long as nobody has loaded it."""

    def _keep(self, end: tuple[BaseException | None, Any]) -> tuple[BaseException | None, Any]:
        """Keep an end unless there is one already, and return the one that is kept."""

    def _look(self) -> str | None:
        """Tell how the task ended: "value", "cancelled" or "failed"; what it came to stays where it is.

        None if it is not over, and once the outcome was taken.
        """

    def _whereabouts(self) -> str:
        """Where the task is: "pending", "running" or "done"."""

    def _take(self, timeout: float | None = None) -> tuple[Any, ...] | bytes | None:
        """Do as `Ticket.outcome`, but return the stream alone of a value that is one short segment."""

    def _forget_outcome(self) -> None:
        """Drop the raw outcome, once what it says is kept."""

    def _story(self) -> tuple[int, str | None, int, int] | None:
        """Tell how it went, once it is over: attempts, worker, microseconds of the last attempt and in all."""

    def _cancel_pending(self) -> None:
        """Ask that the task not begin."""

    def _cancel_running(self) -> None:
        """Ask that the task not begin, or be stopped."""

    def _watch(self) -> bool:
        """Have `Session.next_watched` tell when the task is over; False if its end is here already."""

@final
class Submitter:
    """Submits plain calls of one view of a client: see `Session.submitter`."""

    def submit(self, function: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any | None:
        """Submit a call and return its future; None if there is anything about it that only Python can judge."""

@final
class Session:
    """A client's session: defines, submits, waits. Every thread may use it.

    A forked child may not: there, everything raises `PlaitError`.
    """

    def define_function(
        self, body: SupportsBuffer | Sequence[SupportsBuffer], python: tuple[int, int] | None
    ) -> FunctionTicket:
        """Make a pickled function known; one that travels by value needs the given Python version.

        Raises:
            SerializationError: If it is larger than the coordinator takes.
        """

    def define_options(
        self,
        cpus: int,
        resources: Sequence[tuple[str, int]],
        retries: int,
        crash_limit: int,
        priority: int,
        label: str,
    ) -> int:
        """Make options known; equal ones have the same number. Amounts are in ten-thousandths."""

    def submitter(self, options: int, known: dict[Any, Any], future: type[FutureBase], owner: object) -> Submitter:
        """Return what submits plain calls with these options.

        Args:
            options: What `define_options` returned.
            known: `Functions.known`.
            future: The class of the futures to be made.
            owner: The client's core, which they keep.
        """

    def put(self, future: FutureBase, segments: SupportsBuffer | Sequence[SupportsBuffer], /) -> None:
        """Put a value where tasks can have it, until its future is dropped; return once it is over.

        Raises:
            RuntimeError: After the session was closed.
            CoordinatorLost: When the coordinator is lost for good.
            ResultTooLarge: If it is larger than the coordinator takes.
        """

    def submit(
        self,
        future: FutureBase,
        function: int,
        options: int,
        args: SupportsBuffer | Sequence[SupportsBuffer],
        inputs: Sequence[FutureBase] | None = None,
    ) -> None:
        """Submit a call whose value is kept until its future is dropped. Waits while nothing more is admitted.

        Raises:
            RuntimeError: After the session was closed.
            CoordinatorLost: When the coordinator is lost for good.
            SerializationError: If the arguments are larger than the coordinator takes.
        """

    def submit_item(
        self,
        function: int,
        options: int,
        args: SupportsBuffer | Sequence[SupportsBuffer],
        inputs: Sequence[FutureBase] | None = None,
    ) -> Ticket:
        """Submit a call whose value is kept until it is delivered; raises as `submit`."""

    def submit_chunk(
        self,
        function: int,
        options: int,
        args: SupportsBuffer | Sequence[SupportsBuffer],
        inputs: Sequence[FutureBase] | None,
        errors: str,
        retries: int,
        items: int,
    ) -> Ticket:
        """Submit a chunk of so many calls; with "return" as `errors` they are kept item by item. Raises as `submit`."""

    def open_reduce(
        self,
        function: int,
        initial: SupportsBuffer | Sequence[SupportsBuffer] | None,
        errors: str,
        options: int,
    ) -> tuple[int, Ticket]:
        """Open a run that is folded; returns its number and the ticket of its result. Raises as `submit`."""

    def open_combine(self, function: int, errors: str, options: int) -> tuple[int, Ticket]:
        """Open a run that is combined; returns its number and the ticket of its result. Raises as `submit`."""

    def submit_piece(
        self,
        run: int,
        function: int,
        options: int,
        args: SupportsBuffer | Sequence[SupportsBuffer],
        inputs: Sequence[FutureBase] | None,
        errors: str,
        retries: int,
        items: int,
        merge: int | None,
    ) -> None:
        """Submit the next piece of a run, so many calls; `merge` folds their values there. Raises as `submit`."""

    def seal_run(self, run: int, pieces: int) -> None:
        """Say how many pieces a run has."""

    def progress(self, run: int) -> tuple[int, int, float, int]:
        """Return what is over of a run: items, pieces, the seconds they ran, bytes of their values."""

    def wait_progress(self, ticket: Ticket, seen: int, timeout: float | None = None) -> bool:
        """Wait until a run is over, or more of its items than `seen`; False if the time is up."""

    def wait_any(self, tickets: Sequence[Ticket], timeout: float | None = None) -> bool:
        """Wait until one of the tasks is over, a run among them makes progress or a chunk has `parts`.

        Returns:
            False if the time is up.
        """

    def wait_idle(self, timeout: float | None = None) -> bool:
        """Wait until every task is over; False if the time is up."""

    def next_watched(self) -> list[int]:
        """Return the numbers of watched tasks that are over; waits up to 50 ms for the first."""

    def cancel_running(self, tickets: Sequence[Ticket]) -> None:
        """Stop all that these tickets stand for; a run's result stands for all of it."""

    def cancel_all_pending(self) -> None:
        """Cancel whatever has not begun."""

    def workers(self, timeout: float) -> list[tuple[str, int, str, int, int, str, str]] | None:
        """Return each worker's name, slots, resources, running, queued, state, Python; None if no answer came."""

    def close_when_done(self) -> None:
        """Take nothing new; what is pending goes on."""

    def close_now(self) -> None:
        """Cancel everything and say goodbye."""

@final
class Runtime:
    """What serves a session: threads of this process, embedded or connected."""

    @staticmethod
    def embedded(
        slots: int,
        listen: str | None,
        home: str,
        launch: tuple[str, Sequence[str], Sequence[str]],
        name: str,
    ) -> Runtime:
        """Start a coordinator and a worker in this process.

        Args:
            slots: Of the worker; 0 for none.
            listen: `host:port` on which others may join, or None.
            home: Where keys are kept.
            launch: The interpreter of the executors, its flags, its `sys.path`.
            name: What people see of this client.

        Raises:
            ConnectError: If the port cannot be opened.
            OSError: If a thread or a file cannot be made.
        """

    @staticmethod
    def connect(line: str, name: str) -> Runtime:
        """Connect to the coordinator of a join line.

        Raises:
            ConnectError: If it cannot be reached, or the line is none.
            AuthError: If a key was refused.
            VersionMismatch: If it speaks another protocol.
        """

    def session(self) -> Session:
        """Return the session."""

    def worker_line(self) -> str | None:
        """Return what `plait worker` takes to join; None if nothing listens."""

    def shutdown(self, timeout: float) -> bool:
        """End it all; False if that takes longer than `timeout` seconds."""

def after_fork_in_child() -> None:
    """Put everything that was made before out of reach: its threads stayed with the parent."""

def names_main(stream: bytes, /) -> bool:
    """Tell whether a pickled stream may refer to the module `__main__`, which is another one elsewhere."""

def read_join_file(home: str, role: Literal["worker", "client"]) -> str | None:
    """Return the line that a coordinator wrote into a key folder; None if none ever did.

    Raises:
        ConnectError: If folder or file is not this user's alone, is a symbolic link, or holds something else.
    """

def run_worker(
    line: str,
    slots: int,
    resources: Sequence[tuple[str, int]],
    launch: tuple[str, Sequence[str], Sequence[str]],
    name: str,
) -> None:
    """Run a worker until its coordinator says goodbye.

    A signal handler that raises (Ctrl-C, or SIGTERM where it is set to do the same) drains it; the second ends it now.

    Args:
        line: The join line.
        slots: Tasks at once.
        resources: Named resources and their amounts in ten-thousandths.
        launch: The interpreter of the executors, its flags, its `sys.path`.
        name: What people see of this worker.

    Raises:
        ConnectError: If no coordinator could be reached, or the line is none.
        AuthError: If a key was refused.
        VersionMismatch: If the coordinator speaks another protocol.
    """

def serve_coordinator(bind: str, advertise: str | None, home: str, on_ready: Callable[[str, str], None]) -> None:
    """Run a coordinator until Ctrl-C or SIGTERM; `on_ready` gets the join lines of workers and of clients.

    Raises:
        ConnectError: If the port cannot be opened, or lets nobody in any more.
    """

def status(line: str, timeout: float) -> dict[str, Any] | None:
    """Ask a coordinator who is there and what is pending; None if no answer came in time.

    Raises:
        ConnectError: If it cannot be reached.
        AuthError: If a key was refused.
        VersionMismatch: If it speaks another protocol.
    """
