"""Large values that stay with workers: how they come to those who need them, and what is lost with whom."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import plait
import rig

if TYPE_CHECKING:
    from collections.abc import Callable

#: Bytes of one value here: far more than the coordinator keeps of anything that merely passes through.
LARGE = 50 << 20


@pytest.fixture(autouse=True, params=["memory", "bytes"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How large values go from process to process: within this machine, or as between two."""
    if request.param == "bytes":
        monkeypatch.setenv("PLAIT_SHARE_MEMORY", "0")
    return str(request.param)


def ramp(start: int) -> Any:
    return np.arange(start, start + LARGE // 8, dtype=np.int64)


def plus(one: Any, other: Any) -> Any:
    return one + other


def logged_ramp(path: str, start: int) -> Any:
    """Leave a mark, then make a ramp."""
    with open(path, "a") as log:
        log.write(f"{os.getppid()}\n")
    return ramp(start)


def at(client: plait.Client, place: str) -> Callable[..., plait.Future[Any]]:
    """Submit to the worker with this resource."""
    return client.options(resources={place: 1}).submit


def held_bytes(cluster: rig.Cluster) -> int:
    """What the coordinator holds."""
    return int(json.loads(cluster.start("status", "--json").succeeds())["held_bytes"])


def two_workers(cluster: rig.Cluster, client: plait.Client) -> tuple[rig.Program, rig.Program]:
    """One at "left" and one at "right"."""
    pair = cluster.worker("--resource", "left=1"), cluster.worker("--resource", "right=1")
    rig.eventually(lambda: len(client.workers()) == 2, "two workers")
    return pair


def test_a_chain_across_two_workers_is_what_it_would_be_on_one(cluster: rig.Cluster) -> None:
    with plait.Client(cluster.client_line) as client:
        two_workers(cluster, client)
        value, expected = at(client, "left")(ramp, 0), ramp(0)
        for n in range(4):
            value = at(client, ("right", "left")[n % 2])(plus, value, n)
            expected = expected + n
        assert np.array_equal(value.result(rig.PATIENCE), expected)
        both = at(client, "left")(plus, at(client, "left")(ramp, 1), at(client, "right")(ramp, 2))
        assert np.array_equal(both.result(rig.PATIENCE), ramp(1) + ramp(2))


def peak_bytes(pid: int) -> int:
    """The most memory that a process has taken."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


def total(value: Any) -> int:
    return int(value.sum())


def test_what_one_worker_needs_of_another_goes_past_the_coordinator(cluster: rig.Cluster) -> None:
    with plait.Client(cluster.client_line) as client:
        two_workers(cluster, client)
        sums = [at(client, "left")(total, at(client, "right")(np.ones, 8)).result(rig.PATIENCE)]
        before = peak_bytes(cluster.coordinator.pid)
        # Nobody holds a large value by the time it is made: the client has no part in it.
        sums += [at(client, "right")(total, at(client, "left")(ramp, n)).result(rig.PATIENCE) for n in range(4)]
        assert sums == [8, *(total(ramp(n)) for n in range(4))]
        assert peak_bytes(cluster.coordinator.pid) - before < LARGE // 2


def test_the_coordinator_keeps_nothing_of_what_stays_with_workers(cluster: rig.Cluster) -> None:
    with plait.Client(cluster.client_line) as client:
        two_workers(cluster, client)
        values = [client.submit(ramp, n) for n in range(4)]
        assert [int(value.result(rig.PATIENCE)[0]) for value in values] == [0, 1, 2, 3]
        rig.eventually(lambda: held_bytes(cluster) < LARGE // 8, "what was shown is let go of")


def test_what_is_lost_with_its_worker_is_made_again_for_whoever_waits(cluster: rig.Cluster, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with plait.Client(cluster.client_line) as client:
        left, _ = two_workers(cluster, client)
        value = at(client, "left")(logged_ramp, str(log), 7)
        assert np.array_equal(value.result(rig.PATIENCE), ramp(7))
        left.send(signal.SIGKILL)
        rig.eventually(lambda: len(client.workers()) == 1, "one is lost")
        again = cluster.worker("--resource", "left=1")
        assert np.array_equal(at(client, "right")(plus, value, 1).result(rig.PATIENCE), ramp(8))
        assert log.read_text().split() == [str(left.pid), str(again.pid)]


def test_what_a_drained_worker_had_is_handed_to_another(cluster: rig.Cluster, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with plait.Client(cluster.client_line) as client:
        left, _ = two_workers(cluster, client)
        values = [at(client, "left")(logged_ramp, str(log), n) for n in range(4)]
        assert all(np.array_equal(value.result(rig.PATIENCE), ramp(n)) for n, value in enumerate(values))
        left.send(signal.SIGTERM)
        assert left.ends() == 0
        sums = [client.submit(plus, value, 1).result(rig.PATIENCE) for value in values]
        assert all(np.array_equal(sums[n], ramp(n + 1)) for n in range(4))
        assert log.read_text().split() == [str(left.pid)] * 4, "none is made again"


def test_what_the_last_worker_had_is_made_again_for_whoever_wants_it(cluster: rig.Cluster, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with plait.Client(cluster.client_line) as client:
        alone = cluster.worker()
        value = client.submit(logged_ramp, str(log), 7)
        assert np.array_equal(value.result(rig.PATIENCE), ramp(7))
        alone.send(signal.SIGTERM)
        assert alone.ends() == 0
        other = cluster.worker()
        assert np.array_equal(client.submit(plus, value, 1).result(rig.PATIENCE), ramp(8))
        assert log.read_text().split() == [str(alone.pid), str(other.pid)]


def test_a_worker_that_stands_still_is_no_holder_to_wait_for(cluster: rig.Cluster, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with plait.Client(cluster.client_line) as client:
        left, _ = two_workers(cluster, client)
        value = at(client, "left")(logged_ramp, str(log), 7)
        assert np.array_equal(value.result(rig.PATIENCE), ramp(7))
        left.send(signal.SIGSTOP)
        waits = at(client, "right")(plus, value, 1)
        again = cluster.worker("--resource", "left=1")
        assert np.array_equal(waits.result(rig.PATIENCE), ramp(8))
        assert log.read_text().split() == [str(left.pid), str(again.pid)]


def file_of(array: Any) -> int:
    """The inode of what an array is a mapping of."""
    address = array.__array_interface__["data"][0]
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, end = (int(bound, 16) for bound in line.split()[0].split("-"))
        if start <= address < end:
            return int(line.split()[4])
    raise AssertionError(f"{address:#x} lies nowhere")


def test_a_value_lies_on_a_machine_once(cluster: rig.Cluster, way: str) -> None:
    with plait.Client(cluster.client_line) as client:
        two_workers(cluster, client)
        given, made = client.put(ramp(7)), at(client, "left")(ramp, 8)
        array = made.result(rig.PATIENCE)
        seen = [{at(client, place)(file_of, value).result() for place in ("left", "right")} for value in (given, made)]
        assert 0 not in seen[0] | seen[1]
        if way == "memory":
            assert [len(files) for files in seen] == [1, 1]
            assert file_of(array) in seen[1]
        else:
            assert [len(files) for files in seen] == [2, 2]
            assert file_of(array) == 0
        array += 1
        assert np.array_equal(array, ramp(9))
        assert at(client, "right")(total, made).result() == total(ramp(8)), "what is written stays with who writes"


def test_what_was_put_goes_to_a_worker_once(cluster: rig.Cluster, proxy: rig.Proxy, way: str) -> None:
    cluster.start("worker", "--slots", "2", proxy.line(cluster.worker_line))
    with plait.Client(cluster.client_line) as client:
        rig.eventually(lambda: len(client.workers()) == 1, "a worker")
        given = client.put(ramp(7))
        sums = [future.result() for future in [client.submit(total_and, given, n) for n in range(20)]]
        assert sums == [int(ramp(7).sum()) + n for n in range(20)]
        least, most = (0.0, 0.1) if way == "memory" else (1.0, 1.1)
        assert least * LARGE < proxy.passed < most * LARGE, f"{proxy.passed} bytes for one of {LARGE}"
        del given
        rig.eventually(lambda: held_bytes(cluster) < LARGE, "it is gone when nobody can name it any more")


def total_and(array: Any, more: int) -> int:
    return int(array.sum()) + more
