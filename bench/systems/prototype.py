"""The shape of the Twisted prototype: one `DistributedServer` on a TCP port, `WorkerNode`s that dial it.

The script is the server, as it was: its thread is the reactor's, so a call is queued without a switch of threads, and
to wait is to turn the reactor. Frames have a length in front and pickles inside. As in the prototype, a worker has
one sub-task at a time, and one that dies takes it with it.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from twisted.internet import reactor as installed_reactor
from twisted.internet.protocol import ClientFactory, ServerFactory
from twisted.protocols.basic import Int32StringReceiver

from bench.systems.base import SLOTS, System

reactor = cast("Any", installed_reactor)
#: The longest frame, in bytes.
FRAME = 1 << 30
#: How long one turn of the reactor waits for something to happen, in seconds.
TURN_SECONDS = 0.1


class Reply:
    """What `submit` gives: a result that is awaited."""

    __slots__ = ("over", "value")

    def __init__(self) -> None:
        self.over = False
        self.value: Any = None


class Connection(Int32StringReceiver):  # type: ignore[misc]
    """A worker, as the server sees it."""

    MAX_LENGTH = FRAME

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        self.transport.setTcpNoDelay(True)
        self.factory.server.joined(self)

    def stringReceived(self, frame: bytes) -> None:  # noqa: N802 - Twisted's name
        self.factory.server.handle_results(self, *pickle.loads(frame))


class DistributedServer:
    """Hands a sub-task to whoever is idle, and collects."""

    def __init__(self) -> None:
        self.waiting: deque[bytes] = deque()
        #: The workers that have handed back what they were given: one sub-task at a time is on its way to each.
        self.idle: deque[Connection] = deque()
        self.replies: dict[int, Reply] = {}
        self.worker_nodes = 0
        self.submitted = 0
        factory = ServerFactory()
        factory.protocol = Connection
        factory.server = self
        self.port: int = reactor.listenTCP(0, factory, interface="127.0.0.1").getHost().port

    def joined(self, worker: Connection) -> None:
        self.worker_nodes += 1
        self.idle.append(worker)
        self.hand_out()

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Reply:
        self.submitted += 1
        reply = self.replies[self.submitted] = Reply()
        self.waiting.append(pickle.dumps((self.submitted, fn, args), 5))
        self.hand_out()
        return reply

    def hand_out(self) -> None:
        while self.waiting and self.idle:
            self.idle.popleft().sendString(self.waiting.popleft())

    def handle_results(self, worker: Connection, number: int, value: Any) -> None:
        reply = self.replies.pop(number)
        reply.value = value
        reply.over = True
        self.idle.append(worker)
        self.hand_out()


class WorkerNode(Int32StringReceiver):  # type: ignore[misc]
    """A worker: performs what it is sent, one sub-task after the other."""

    MAX_LENGTH = FRAME

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        self.transport.setTcpNoDelay(True)

    def stringReceived(self, frame: bytes) -> None:  # noqa: N802 - Twisted's name
        number, perform_sub_task, args = pickle.loads(frame)
        self.sendString(pickle.dumps((number, perform_sub_task(*args)), 5))

    def connectionLost(self, reason: Any = None) -> None:  # noqa: N802 - Twisted's name
        if reactor.running:
            reactor.stop()


class OfPrototype(System):
    """The server in this process, two workers beside it."""

    first_result = (
        "from bench.systems.prototype import OfPrototype\n"
        "server = OfPrototype()\nserver.wait(server.submit(abs, -1)); took()\nserver.close()"
    )

    def __init__(self) -> None:
        reactor.startRunning(installSignalHandlers=False)
        self.server = DistributedServer()
        command = [sys.executable, "-m", "bench.systems.prototype", str(self.server.port)]
        self.workers = [subprocess.Popen(command) for _ in range(SLOTS)]
        self.submit = self.server.submit
        self.wait = self.turn_until_over

    def turn_until_over(self, reply: Reply) -> Any:
        while not reply.over:
            reactor.iterate(TURN_SECONDS)
        return reply.value

    def close(self) -> None:
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            worker.wait()


def work(port: int) -> None:
    """Be a worker."""
    factory = ClientFactory()
    factory.protocol = WorkerNode
    reactor.connectTCP("127.0.0.1", port, factory)
    reactor.run()


if __name__ == "__main__":
    work(int(sys.argv[1]))
