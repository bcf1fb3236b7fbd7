"""Coordinator, worker and client go on whatever becomes of their stderr: nobody waits for it, nobody dies of it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import signal
import socket
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import plait
import rig

#: `fcntl` command: the size of a pipe.
F_GETPIPE_SZ = 1032


def full_disk() -> tuple[int, list[int]]:
    return os.open("/dev/full", os.O_WRONLY), []


def pipe_without_reader() -> tuple[int, list[int]]:
    reader, writer = os.pipe()
    os.close(reader)
    return writer, []


def full_pipe() -> tuple[int, list[int]]:
    reader, writer = os.pipe()
    os.write(writer, bytes(fcntl.fcntl(writer, F_GETPIPE_SZ)))
    return writer, [reader]


def gone_terminal() -> tuple[int, list[int]]:
    near, far = pty.openpty()
    os.close(near)
    return far, []


def stopped_terminal() -> tuple[int, list[int]]:
    near, far = pty.openpty()
    termios.tcflow(far, termios.TCOOFF)
    return far, [near]


def unread_terminal() -> tuple[int, list[int]]:
    """It takes something yet, but never all of it."""
    near, far = pty.openpty()
    return far, [near]


@pytest.fixture(params=[full_disk, pipe_without_reader, full_pipe, gone_terminal, stopped_terminal, unread_terminal])
def bad_stderr(request: pytest.FixtureRequest, nothing_left: None) -> Iterator[int]:
    """A descriptor that takes nothing: at once with an error, or after a wait without end."""
    make: Callable[[], tuple[int, list[int]]] = request.param
    writer, kept = make()
    yield writer
    for fd in (writer, *kept):
        os.close(fd)


def flood(mark: str) -> None:
    """Say more than anything takes that is not read; leave a mark once there is more than a terminal takes."""
    for piece in range(256):
        sys.stderr.write(("x" * 99 + "\n") * 40)
        sys.stderr.flush()
        if piece == 8:
            Path(mark).touch()


def knock(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=rig.PATIENCE) as stranger:
        stranger.sendall(b"GET / HTTP/1.0\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while stranger.recv(100):
                pass


def test_a_stranger_closes_no_port(tmp_path: Path, bad_stderr: int) -> None:
    cluster = rig.Cluster(tmp_path / "home", stderr=bad_stderr)
    try:
        knock(cluster.port)
        knock(cluster.port)
        with plait.Client(cluster.client_line) as client:
            assert client.workers() == []
        cluster.coordinator.send(signal.SIGTERM)
        assert cluster.coordinator.ends() == 0
    finally:
        cluster.stop()


def test_a_worker_survives_its_coordinator(cluster: rig.Cluster, bad_stderr: int) -> None:
    worker = cluster.worker(stderr=bad_stderr)
    with plait.Client(cluster.client_line) as client:
        assert client.submit(pow, 2, 5).result(rig.PATIENCE) == 32
    cluster.coordinator.stop()
    again = cluster.start("coordinator", "--bind", f"127.0.0.1:{cluster.port}")
    again.says("clients")
    with plait.Client(cluster.client_line) as client:
        assert client.submit(os.getppid).result(rig.PATIENCE) == worker.pid
    worker.send(signal.SIGTERM)
    assert worker.ends() == 0


def test_executors_that_say_much_hold_up_nobody_else(cluster: rig.Cluster, tmp_path: Path, bad_stderr: int) -> None:
    worker = cluster.worker(slots=2, stderr=bad_stderr)
    with plait.Client(cluster.client_line) as client:
        flooding = client.submit(flood, str(tmp_path / "mark"))
        rig.eventually((tmp_path / "mark").exists, "it has begun")
        for _ in range(20):
            assert client.submit(os.getppid).result(rig.PATIENCE) == worker.pid
        flooding.cancel(running=True)


EMBEDDED = """
import os, sys, plait, rig
from pathlib import Path
from cluster.test_stderr import flood
client = plait.Client(slots=2)
flooding = client.submit(flood, sys.argv[1])
rig.eventually(Path(sys.argv[1]).exists, "it has begun")
for _ in range(20):
    assert client.submit(os.getppid).result(60) == os.getpid()
flooding.cancel(running=True)
client.shutdown()
print("over")
"""


def test_those_of_an_embedded_client_neither(tmp_path: Path, bad_stderr: int) -> None:
    program = rig.python(EMBEDDED, str(tmp_path / "mark"), stderr=bad_stderr)
    program.says("over")
    assert program.ends() == 0


def test_the_log_is_whole_at_a_normal_end(cluster: rig.Cluster) -> None:
    worker = cluster.start("worker", "--slots", "1", env={"PLAIT_LOG": "plait::worker=trace"})
    with plait.Client(cluster.client_line) as client:
        assert client.submit(pow, 2, 5).result(rig.PATIENCE) == 32
    worker.send(signal.SIGTERM)
    assert worker.ends() == 0
    assert "DrainRequested" in "\n".join(worker.err)
    assert "Leave" in worker.err[-1], worker.err[-3:]


def heard(program: rig.Program, words: str) -> bool:
    """Whether a program has said this on stderr."""
    return any(words in line for line in program.err)


def test_a_worker_says_soon_that_nobody_answers(cluster: rig.Cluster) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    wrong = cluster.start("worker", "--slots", "1", f"{cluster.worker_line.rpartition(':')[0]}:{port}")
    rig.eventually(lambda: heard(wrong, "no coordinator can be reached"), "it is said")
    assert wrong.process.poll() is None, "it keeps trying"
    assert len(wrong.err) == 1, wrong.story()


def test_a_worker_says_that_its_coordinator_is_back(cluster: rig.Cluster) -> None:
    worker = cluster.worker()
    with plait.Client(cluster.client_line) as client:
        assert client.submit(pow, 2, 5).result(rig.PATIENCE) == 32
    cluster.coordinator.stop()
    rig.eventually(lambda: heard(worker, "lost the coordinator"), "the loss is told")
    cluster.start("coordinator", "--bind", f"127.0.0.1:{cluster.port}")
    rig.eventually(lambda: heard(worker, "joined the coordinator again"), "its end is told")
    assert len(worker.err) == 2, worker.story()
