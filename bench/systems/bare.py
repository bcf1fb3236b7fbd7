"""What the kernel takes for bytes between processes, and nothing else: the floor of a round trip, and of much data."""

from __future__ import annotations

import os
import socket
import statistics
import time
from collections.abc import Callable
from functools import partial

#: Bytes of a message.
SIZE = 64
#: Bytes that are read and written at once where much is carried.
PIECE = 256 << 10


def relay(near: socket.socket, far: socket.socket | None) -> None:
    """Answer every message: by oneself, or with what the next one says. Ends with the connection."""
    while message := near.recv(SIZE):
        if far is not None:
            far.sendall(message)
            message = far.recv(SIZE)
        near.sendall(message)


def pour(near: socket.socket, far: socket.socket | None, *, size: int) -> None:
    """Carry so many bytes on: what the next one pours, or out of nowhere."""
    piece = memoryview(bytearray(PIECE))
    left = size
    while left:
        some = min(left, PIECE) if far is None else far.recv_into(piece, min(left, PIECE))
        assert some > 0, "the next one has gone"
        near.sendall(piece[:some])
        left -= some


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    for end in (near, far):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return near, far


def unix_pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX)


def chain(
    pairs: list[Callable[[], tuple[socket.socket, socket.socket]]],
    serve: Callable[[socket.socket, socket.socket | None], None] = relay,
) -> socket.socket:
    """Put a process behind each pair of sockets; what is written to the returned end goes through all of them."""
    far: socket.socket | None = None
    near: socket.socket | None = None
    for pair in reversed(pairs):
        near, end = pair()
        if os.fork() == 0:
            near.close()
            serve(end, far)
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
#: Through one process, as results go from worker to client; neither encrypted nor kept.
STREAMS = {"bare TCP through a relay": [tcp_pair, tcp_pair]}


def throughput(name: str, size: int) -> float:
    """Megabytes a second of so many bytes through a chain."""
    began = time.perf_counter()
    end = chain(STREAMS[name], partial(pour, size=size))
    piece, left = bytearray(PIECE), size
    while left:
        left -= end.recv_into(piece, min(left, PIECE))
    end.close()
    return size / 1e6 / (time.perf_counter() - began)
