"""The Twisted prototype's names, for programs that were written for it.

`DistributedServer` listens and collects; `WorkerNode` joins it. Subclasses move over by changing their imports and
deleting their networking. The old unframed byte stream is not spoken: everything goes over plait's own links.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import functools
import os
import signal
import threading
import time
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, cast

from plait import _config, _native
from plait._client import Client
from plait._errors import ConnectError, PlaitError
from plait._serialize import dump_function, load_function

if TYPE_CHECKING:
    from plait._types import WorkerInfo

#: Where a worker leaves its pickled `WorkerNode` for the executors that it starts, in parts.
NODE_VARIABLE = "PLAIT_WORKER_NODE"
#: How much of it one variable holds, in characters: the kernel allows 128 KiB for each.
NODE_PART = 96 << 10
#: How long `WorkerNode.run` waits for a server on this home directory to write its first key file, in seconds.
KEY_FILE_SECONDS = 60.0
#: How often it looks, in seconds.
KEY_FILE_LOOK_SECONDS = 0.1


class DistributedServer:
    """The central server of the prototype: cuts data into pieces, hands them out, collects.

    Subclass it with `perform_sub_task`, and with `split`, `handle_results` and `combine_results` where the defaults do
    not do.

    Args:
        port: Where to listen; 0 for any free port.
        host: The address to listen on; `"0.0.0.0"` lets other machines in.

    Attributes:
        results: What `handle_results` has collected, of this run or the last one.
        join_line: What a worker elsewhere needs; None while the server does not run.

    Example:
        >>> class Squares(DistributedServer):
        ...     def perform_sub_task(self, n):
        ...         return n * n
        ...     def combine_results(self):
        ...         return sum(self.results)
        >>> server = Squares(port=8000)      # server.run(range(10)) then waits for a worker node
    """

    def __init__(self, port: int = 8000, host: str = "127.0.0.1") -> None:
        self.port = port
        self.host = host
        self.results: list[Any] = []

    # Here and not in `__init__`, which a subclass need not call.
    join_line: str | None = None
    _client: Client | None = None
    #: Whether it has run before.
    _ran = False
    #: What `results` held before the first run; None before that, and where it cannot be copied.
    _at_first: Any = None

    #: `perform_sub_task(self, piece)`, on a worker node. Left out, the node's own is used.
    perform_sub_task: Callable[..., Any]

    def split(self, data: Any) -> Iterable[Any]:
        """Cut the data into pieces, lazily. By default the data is the pieces."""
        return cast("Iterable[Any]", data)

    def handle_results(self, result: Any) -> None:
        """Take one result, here, as it arrives. By default it is appended to `self.results`."""
        self.results.append(result)

    def combine_results(self) -> Any:
        """Make the final result from what was handled, here, at the end. By default all results."""
        return self.results

    @property
    def worker_nodes(self) -> list[WorkerInfo]:
        """Who is there; nobody while the server does not run."""
        return [] if self._client is None else self._client.workers()

    def run(self, data: Any) -> Any:
        """Listen, hand out the pieces of `data`, collect, and return what `combine_results` makes of it.

        It waits for worker nodes, and they leave when it ends. To run once more takes nodes that join anew, as a
        warning says, and starts with `results` as they were before the first run, unless they are something that cannot
        be copied, such as a file.

        Raises:
            ConnectError: When the port cannot be opened.
        """
        with Client(slots=0, listen=f"{self.host}:{self.port}") as client:
            if self._ran:
                warnings.warn(
                    "the worker nodes of the run before have left: this one begins once others join "
                    "(WorkerNode.run again)",
                    stacklevel=2,
                )
            self._renew_results()
            self._client, self.join_line = client, client.join_line
            try:
                work = functools.partial(_perform, self if hasattr(self, "perform_sub_task") else None)
                for result in client.options(ordered=False).map(work, self.split(data)):
                    self.handle_results(result)
                return self.combine_results()
            finally:
                self._client = self.join_line = None

    def _renew_results(self) -> None:
        """Make `results` what they were before the first run, where they can be copied."""
        try:
            if not self._ran:
                self._at_first = copy.deepcopy(self.results)
            elif self._at_first is not None:
                self.results = copy.deepcopy(self._at_first)
        except Exception:  # noqa: BLE001 - a subclass may collect in anything, or elsewhere
            self._at_first = None
        self._ran = True

    def __getstate__(self) -> dict[str, Any]:
        """Travel to the workers without what belongs to this process."""
        return self.__dict__ | {"_client": None, "_at_first": None, "join_line": None, "results": []}


class WorkerNode:
    """A worker of the prototype: joins a `DistributedServer` and runs its sub-tasks.

    The key comes from PLAIT_ADDRESS, or from the file that a server on the same home directory wrote. A subclass may
    define `perform_sub_task(self, piece)`; it is used where the server's class defines none.

    Args:
        host: Where the server is.
        port: Its port.
        slots: Tasks at once; the cpus of this process if not given.

    Example:
        >>> node = WorkerNode("127.0.0.1", 8000)      # node.run() then works until the server ends
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 8000, *, slots: int | None = None) -> None:
        self.host = host
        self.port = port
        self.slots = slots

    #: `perform_sub_task(self, piece)`, as in the prototype.
    perform_sub_task: Callable[..., Any]

    def run(self) -> None:
        """Join the server and work until it ends. Ctrl-C or SIGTERM drains.

        Raises:
            ConnectError: When no server can be reached, or no key is known.
            AuthError: When the server refuses the key, or is another one.
        """
        line = f"{_join_line().partition('@')[0]}@{self.host}:{self.port}"
        _hand_over(getattr(self, "perform_sub_task", None))
        try:
            name = f"{os.uname().nodename}:{os.getpid()}"
            with _sigterm_as_ctrl_c():
                _native.run_worker(line, self.slots or _config.slots(), [], _config.launch(), name)
        finally:
            _hand_over(None)


@contextlib.contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does, where this thread handles signals and the program has no handler of its own."""
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _join_line() -> str:
    """The worker's line: PLAIT_ADDRESS, or the key file once it is there."""
    address = _config.address() or os.path.join(_config.home(), "worker.join")
    deadline = time.monotonic() + KEY_FILE_SECONDS
    while True:
        try:
            return _config.read_address(address)
        except FileNotFoundError:
            if time.monotonic() > deadline:
                raise ConnectError(
                    f"no key to join with: {address} is missing; start the server first, or set PLAIT_ADDRESS"
                ) from None
        time.sleep(KEY_FILE_LOOK_SECONDS)


def _hand_over(work: Callable[..., Any] | None) -> None:
    """Leave the node's method to the executors that this process will start; None takes it back."""
    for name in [name for name in os.environ if name.startswith(NODE_VARIABLE)]:
        del os.environ[name]
    if work is not None:
        [stream], _ = dump_function(work, Exception)
        text = base64.b85encode(zlib.compress(stream)).decode()
        for part, start in enumerate(range(0, len(text), NODE_PART)):
            os.environ[f"{NODE_VARIABLE}_{part}"] = text[start : start + NODE_PART]


@functools.cache
def _node_work() -> Callable[..., Any] | None:
    """The method of the node that this executor's worker was made from, if it has one."""
    parts: list[str] = []
    while (part := os.environ.get(f"{NODE_VARIABLE}_{len(parts)}")) is not None:
        parts.append(part)
    if not parts:
        return None
    work, _ = load_function([zlib.decompress(base64.b85decode("".join(parts)))])
    return work


def _perform(server: DistributedServer | None, piece: Any) -> Any:
    """Do the work for one piece, in an executor: by the server's method, else by the node's."""
    work = _node_work()
    if server is not None:
        if work is not None:
            warnings.warn(
                f"{type(server).__name__} and the worker node both define perform_sub_task: the server's is used",
                stacklevel=1,
            )
        return server.perform_sub_task(piece)
    if work is None:
        raise PlaitError("neither the server's class nor the worker node's defines perform_sub_task(self, piece)")
    return work(piece)
