"""Strangers by the thousand: whoever does not authenticate holds up nobody who does."""

from __future__ import annotations

import contextlib
import resource
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import plait
import rig

#: So many strangers a round; 200 rounds already go beyond what a coordinator holds of them at once.
STRANGERS_PER_ROUND = 8
#: `make chaos` asks for no more than the fault's own count.
STRANGERS = 10_000
#: Below what a coordinator lets one network have.
PER_NETWORK = 50
#: Round trips that are looked at while the strangers are there.
ROUND_TRIPS = 300


@pytest.fixture
def cluster(tmp_path: Path, nothing_left: None) -> Iterator[rig.Cluster]:
    cluster = rig.Cluster(tmp_path / "home")
    try:
        yield cluster
    finally:
        cluster.stop()


class Drip:
    """Connections from many loopback networks, each of which says one byte a second and never hello."""

    def __init__(self, port: int, count: int) -> None:
        self.sockets: list[socket.socket] = []
        for number in range(count):
            network, host = divmod(number, PER_NETWORK)
            source = (f"127.{1 + network // 250}.{network % 250}.{1 + host}", 0)
            self.sockets.append(socket.create_connection(("127.0.0.1", port), rig.PATIENCE, source))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._drip, daemon=True)
        self._thread.start()

    def _drip(self) -> None:
        while not self._over.wait(1.0):
            for stranger in self.sockets:
                with contextlib.suppress(OSError):
                    stranger.send(b"\x16")

    def close(self) -> None:
        self._over.set()
        self._thread.join(rig.PATIENCE)
        for stranger in self.sockets:
            stranger.close()


def test_dripping_strangers_hold_up_nobody(
    cluster: rig.Cluster, rounds: int, record_property: Callable[[str, object], None]
) -> None:
    count = min(STRANGERS, rounds * STRANGERS_PER_ROUND)
    _, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert allowed > count + 200, f"this test opens {count} sockets; the limit on descriptors is {allowed}"
    cluster.worker()
    with plait.Client(cluster.client_line) as client:
        assert client.submit(pow, 2, 5).result(rig.PATIENCE) == 32
        strangers = Drip(cluster.port, count)
        try:
            seconds = []
            for number in range(ROUND_TRIPS):
                began = time.perf_counter()
                assert client.submit(pow, number, 1).result(rig.PATIENCE) == number
                seconds.append(time.perf_counter() - began)
            with plait.Client(cluster.client_line) as late:
                assert late.submit(pow, 3, 2).result(rig.PATIENCE) == 9, "who has a key comes in among them"
        finally:
            strangers.close()
    p99 = statistics.quantiles(seconds, n=100)[98]
    record_property("p99_ms", round(1000 * p99, 2))
    print(f"{count:,} strangers: p99 of a round trip {1000 * p99:.1f} ms")
