"""Large results on their way from workers to a client that has its coordinator elsewhere."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import plait
import rig

#: Bytes of one value here: far more than anything that comes through the coordinator.
LARGE = 5 << 20


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no two processes know that they are on one machine, where nothing need go around the coordinator."""
    monkeypatch.setenv("PLAIT_SHARE_MEMORY", "0")


def ramp(start: int, size: int = LARGE) -> Any:
    return np.arange(start, start + size // 8, dtype=np.int64)


def logged_ramp(path: str, start: int) -> Any:
    """Leave a mark, take some time, then make a ramp."""
    with open(path, "a") as log:
        log.write(f"{start}\n")
    time.sleep(0.02)
    return ramp(start)


def test_large_results_do_not_pass_the_coordinator(cluster: rig.Cluster, proxy: rig.Proxy) -> None:
    with plait.Client(proxy.line(cluster.client_line)) as client:
        cluster.worker(slots=2)
        cluster.worker(slots=2)
        rig.eventually(lambda: len(client.workers()) == 2, "two workers")
        futures = [client.submit(ramp, n) for n in range(20)]
        for n, future in enumerate(futures):
            result = future.result(rig.PATIENCE)
            assert np.array_equal(result, ramp(n))
            result += 1
            assert np.array_equal(result, ramp(n + 1)), "it is the program's own"
        small = client.submit(np.ones, 1 << 16).result(rig.PATIENCE)
        assert small.sum() == 1 << 16
        assert (1 << 19) < proxy.passed < LARGE // 2, f"{proxy.passed} bytes for twenty of {LARGE}"


def test_a_run_and_a_map_bring_large_results_too(cluster: rig.Cluster, proxy: rig.Proxy) -> None:
    with plait.Client(proxy.line(cluster.client_line)) as client:
        cluster.worker(slots=2)
        results = client.map(ramp, range(8))
        assert all(np.array_equal(result, ramp(n)) for n, result in enumerate(results))
        assert proxy.passed < LARGE, f"{proxy.passed} bytes"


def test_a_worker_that_dies_while_its_results_are_fetched_costs_none(cluster: rig.Cluster, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with plait.Client(cluster.client_line) as client:
        left = cluster.worker(slots=2)
        cluster.worker(slots=2)
        rig.eventually(lambda: len(client.workers()) == 2, "two workers")
        futures = [client.submit(logged_ramp, str(log), n) for n in range(20)]
        for n, future in enumerate(futures):
            if n == 8:
                left.send(signal.SIGKILL)
            assert np.array_equal(future.result(rig.PATIENCE), ramp(n))
        made = Counter(log.read_text().split())
        assert set(made) == {str(n) for n in range(20)}
        assert max(made.values()) <= 2, "what the dead one had is made once more"


def open_files(pid: int, *kinds: str) -> int:
    """How many files of these kinds a process has open."""
    count = 0
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            count += os.readlink(fd).startswith(kinds)
    return count


FETCHING = f"""
import numpy, plait, sys
with plait.Client() as client:
    futures = [client.submit(numpy.ones, {LARGE}) for _ in range(40)]
    print("begun", flush=True)
    for future in futures:
        future.result()
"""


def test_a_client_that_dies_while_it_fetches_leaves_nothing_at_the_worker(cluster: rig.Cluster) -> None:
    worker = cluster.worker(slots=2)
    with plait.Client(cluster.client_line) as client:
        assert client.submit(len, "ready").result(rig.PATIENCE) == 5
        before = open_files(worker.pid, "socket:")
        doomed = cluster.python(FETCHING)
        doomed.says("begun")

        def stands_still_as_a_guest() -> bool:
            if open_files(worker.pid, "socket:") <= before:
                return False
            doomed.send(signal.SIGSTOP)
            if open_files(worker.pid, "socket:") > before:
                return True
            doomed.send(signal.SIGCONT)
            return False

        rig.eventually(stands_still_as_a_guest, "the client is on a visit")
        doomed.send(signal.SIGKILL)
        rig.eventually(lambda: open_files(worker.pid, "socket:") <= before, "it is a guest no more")
        assert np.array_equal(client.submit(ramp, 7).result(rig.PATIENCE), ramp(7)), "others are"


def test_a_client_that_leaves_while_it_fetches_leaves_nothing_at_the_worker(cluster: rig.Cluster) -> None:
    worker = cluster.worker(slots=2)
    with plait.Client(cluster.client_line) as client:
        assert client.submit(len, "ready").result(rig.PATIENCE) == 5
        before = open_files(worker.pid, "socket:", "/memfd:")
        with plait.Client(cluster.client_line) as leaving:
            futures = [leaving.submit(np.ones, LARGE) for _ in range(20)]
            futures[0].result(rig.PATIENCE)
            leaving.shutdown(cancel_futures=True)
        rig.eventually(lambda: open_files(worker.pid, "socket:", "/memfd:") <= before, "no guest and no value is left")
