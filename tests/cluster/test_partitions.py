"""Fault row 8 on a real network: what a router loses without a word, in one direction or in both."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import plait
import rig
from network import Host, Network, Unavailable

#: A silent worker is given up after 10 s; some of that is asked for by a busy machine.
GIVEN_UP = 12.0
#: How long a worker tries to reach another one, and somewhat less.
UNMET = 4.5
#: The same of a client, which has a coordinator to fall back on.
UNMET_BY_CLIENT = 0.4
#: Elements of an array that stays with its worker.
LARGE = 1 << 17
#: How long clients hear nothing.
BLACKHOLE = 20.0


@pytest.fixture
def network() -> Iterator[Network]:
    try:
        network = Network()
    except Unavailable as why:
        pytest.skip(f"this needs network namespaces: {why}")
    try:
        yield network
    finally:
        network.close()


@pytest.fixture
def cluster(network: Network, tmp_path: Path, nothing_left: None) -> Iterator[rig.Cluster]:
    with network.centre.inside():
        cluster = rig.Cluster(tmp_path / "home", network.centre.address)
    try:
        yield cluster
    finally:
        cluster.stop()


def square(n: int) -> tuple[int, int]:
    """Take some time; say which worker this executor belongs to."""
    time.sleep(0.05)
    return n * n, os.getppid()


def cut(hosts: list[Host]) -> None:
    """Cut the first off in both directions, the second in what it sends, the third in what it hears."""
    both, mute, deaf = hosts
    for host in (both, mute):
        host.mute()
    for host in (both, deaf):
        host.deafen()


def heal(hosts: list[Host]) -> None:
    both, mute, deaf = hosts
    for host in (both, mute):
        host.unmute()
    for host in (both, deaf):
        host.undeafen()


def test_workers_that_are_cut_off_are_given_up_and_come_back(network: Network, cluster: rig.Cluster) -> None:
    with network.centre.inside():
        near = cluster.worker()
        client = plait.Client(cluster.client_line)
    hosts = [network.host() for _ in range(3)]
    far = []
    for host in hosts:
        with host.inside():
            far.append(cluster.worker())
    with client:
        rig.eventually(lambda: len(client.workers()) == 4, "four workers")
        futures = [client.submit(square, n) for n in range(300)]
        for future in futures[:20]:
            future.result(rig.PATIENCE)
        cut(hosts)
        rig.eventually(lambda: len(client.workers()) == 1, "the three are given up", GIVEN_UP)
        results = [future.result(rig.PATIENCE) for future in futures]
        assert [value for value, _ in results] == [n * n for n in range(300)]
        assert {worker for _, worker in results} <= {near.pid, *(worker.pid for worker in far)}
        heal(hosts)
        rig.eventually(lambda: len(client.workers()) == 4, "the three come back")
        again = [client.submit(square, n) for n in range(100)]
        assert {future.result(rig.PATIENCE)[1] for future in again} == {near.pid, *(worker.pid for worker in far)}


def test_clients_that_are_cut_off_go_on_by_themselves(network: Network, cluster: rig.Cluster) -> None:
    with network.centre.inside():
        cluster.worker()
    hosts = [network.host() for _ in range(3)]
    clients = []
    for host in hosts:
        with host.inside():
            clients.append(plait.Client(cluster.client_line))
    futures = [[client.submit(square, n) for n in range(50)] for client in clients]
    for first, *_ in futures:
        first.result(rig.PATIENCE)
    cut(hosts)
    over = threading.Event()

    def come_back() -> None:
        over.set()
        heal(hosts)

    healing = threading.Timer(BLACKHOLE, come_back)
    healing.start()
    late = [[client.submit(square, n) for n in range(50, 70)] for client in clients]
    for client, early, rest in zip(clients, futures, late, strict=True):
        assert rest[0].result(rig.PATIENCE)[0] == 50**2
        assert over.is_set(), "nothing gets through before"
        assert [future.result(rig.PATIENCE)[0] for future in early + rest] == [n * n for n in range(70)]
        client.shutdown()
    healing.join()


def ramp(start: int) -> Any:
    return np.arange(start, start + LARGE, dtype=np.int64)


def total(value: Any) -> int:
    return int(value.sum())


def test_workers_that_cannot_meet_get_values_through_the_coordinator(network: Network, cluster: rig.Cluster) -> None:
    left, right = network.host(), network.host()
    left.shun(right)
    for place, host in (("left", left), ("right", right)):
        with host.inside():
            cluster.worker("--resource", f"{place}=1")
    with network.centre.inside(), plait.Client(cluster.client_line) as client:
        rig.eventually(lambda: len(client.workers()) == 2, "two workers")
        took = []
        for n in range(3):
            began = time.monotonic()
            value = client.options(resources={"left": 1}).submit(ramp, n)
            result = client.options(resources={"right": 1}).submit(total, value).result(rig.PATIENCE)
            assert result == total(ramp(n))
            took.append(time.monotonic() - began)
        assert took[0] > UNMET, "it was tried"
        assert max(took[1:]) < UNMET, "and not again"


def test_a_client_that_cannot_reach_a_worker_gets_values_through_the_coordinator(
    network: Network, cluster: rig.Cluster
) -> None:
    near, far = network.host(), network.host()
    with far.inside():
        cluster.worker()
    near.shun(far)
    with near.inside():
        client = plait.Client(cluster.client_line)
    with client:
        assert client.submit(len, "ready").result(rig.PATIENCE) == 5
        took = []
        for n in range(4):
            began = time.monotonic()
            assert np.array_equal(client.submit(ramp, n).result(rig.PATIENCE), ramp(n))
            took.append(time.monotonic() - began)
        assert took[0] > UNMET_BY_CLIENT, "it was tried"
        assert min(took[1:]) < UNMET_BY_CLIENT, "and not each time"
