"""What the kernel takes for a message there and back, with nothing in between: the floor of a round trip."""

from __future__ import annotations

import os
import socket
import statistics
import time
from collections.abc import Callable

#: Bytes of a message.
SIZE = 64


def relay(near: socket.socket, far: socket.socket | None) -> None:
    """Answer every message: by oneself, or with what the next one says. Ends with the connection."""
    while message := near.recv(SIZE):
        if far is not None:
            far.sendall(message)
            message = far.recv(SIZE)
        near.sendall(message)


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    for end in (near, far):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return near, far


def unix_pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX)


def chain(pairs: list[Callable[[], tuple[socket.socket, socket.socket]]]) -> socket.socket:
    """Put a process behind each pair of sockets; what is written to the returned end goes through all of them."""
    far: socket.socket | None = None
    near: socket.socket | None = None
    for pair in reversed(pairs):
        near, end = pair()
        if os.fork() == 0:
            near.close()
            relay(end, far)
            os._exit(0)
        end.close()
        if far is not None:
            far.close()
        far = near
    assert near is not None
    return near


def round_trip(name: str, count: int) -> float:
    """Median time of a message there and back, in microseconds."""
    end = chain(CHAINS[name])
    message = bytes(SIZE)
    times = []
    for _ in range(count):
        began = time.perf_counter()
        end.sendall(message)
        end.recv(SIZE)
        times.append(time.perf_counter() - began)
    end.close()
    return statistics.median(times) * 1e6


#: One socket to one process: the least for an embedded client. Three, for client, coordinator, worker and executor.
CHAINS = {
    "bare Unix socket": [unix_pair],
    "bare chain of three sockets": [tcp_pair, tcp_pair, unix_pair],
}
