"""A coordinator and workers as a user starts them, and what their end, their arrival and their silence cost."""

from __future__ import annotations

import ctypes
import json
import operator
import os
import signal
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import plait
import rig

#: A client is cut this often, by the clock.
SECONDS_BETWEEN_CUTS = 5.0


def where(seconds: float) -> int:
    """Take some time; say which worker this executor belongs to."""
    time.sleep(seconds)
    return os.getppid()


def slow_str(n: int) -> str:
    time.sleep(0.002)
    return str(n)


def logged(path: str, seconds: float) -> int:
    """Leave a mark at the start, take some time."""
    with open(path, "a") as log:
        log.write("begun\n")
    time.sleep(seconds)
    return os.getppid()


def noted(path: str, n: int) -> int:
    """Leave this number behind."""
    time.sleep(0.002)
    with open(path, "a") as log:
        log.write(f"{n}\n")
    return n


def hold_the_gil(path: str, seconds: int) -> int:
    """Sleep in C without letting other Python threads run."""
    Path(path).touch()
    ctypes.PyDLL(None).sleep(seconds)
    return os.getppid()


def workers(client: plait.Client, count: int) -> None:
    """Wait until so many are there."""
    rig.eventually(lambda: len(client.workers()) == count, f"{count} workers")


def test_a_script_gives_the_same_answer_embedded_and_on_a_cluster(cluster: rig.Cluster) -> None:
    cluster.worker()
    cluster.worker()
    example = str(rig.ROOT / "examples" / "word_count.py")
    embedded = rig.Program(sys.executable, example, env={"PLAIT_ADDRESS": ""}).succeeds()
    clustered = rig.Program(sys.executable, example, env={"PLAIT_ADDRESS": cluster.client_line}).succeeds()
    assert embedded == clustered
    assert "better" in embedded


def test_a_line_comes_from_stdin_the_argument_a_file_or_the_key_file(cluster: rig.Cluster, tmp_path: Path) -> None:
    held = tmp_path / "line"
    held.write_text(cluster.worker_line + "\n")
    cluster.start("worker", "-", "--slots", "1", stdin=cluster.worker_line + "\n")
    cluster.start("worker", cluster.worker_line, "--slots", "1", "--resource", "gpu=0.5")
    cluster.start("worker", "--slots", "1", env={"PLAIT_ADDRESS": str(held)})
    cluster.start("worker", "--slots", "1", env={"PLAIT_ADDRESS": cluster.worker_line})
    cluster.worker()
    with plait.Client(cluster.client_line) as client:
        workers(client, 5)
        assert sorted(worker.resources for worker in client.workers()) == ["", "", "", "", "gpu=0.5"]
        assert client.options(resources={"gpu": 0.5}).submit(operator.add, 1, 2).result(rig.PATIENCE) == 3


def double(array: Any) -> Any:
    array *= 2  # its own copy, wherever it lies
    return array


def test_large_values_cross_the_network(cluster: rig.Cluster) -> None:
    for _ in range(2):
        cluster.worker()
    array = np.arange(1 << 20, dtype=np.float64)
    with plait.Client(cluster.client_line) as client:
        workers(client, 2)
        shared = client.put(array)
        assert shared.done()
        for _ in range(4):
            assert np.array_equal(client.submit(double, client.submit(double, shared)).result(), 4 * array)
        assert np.array_equal(client.submit(double, array).result(), 2 * array)
        assert np.array_equal(shared.result(), array)


def test_status_shows_the_workers(cluster: rig.Cluster) -> None:
    for _ in range(2):
        cluster.worker()
    with plait.Client(cluster.client_line) as client:
        workers(client, 2)
        table = cluster.start("status").succeeds()
        assert table.count("live") == 2
        status = json.loads(cluster.start("status", "--json").succeeds())
        assert [worker["slots"] for worker in status["workers"]] == [1, 1]
        assert status["sessions"] == 1, "the one who asks is not counted"


def test_a_worker_on_a_terminal_says_that_it_has_joined_and_why_it_leaves(cluster: rig.Cluster) -> None:
    on_a_terminal = "import pty, sys; pty.spawn(sys.argv[1:])"
    worker = rig.python(on_a_terminal, sys.executable, "-m", "plait.cli", "worker", "--slots", "1", env=cluster.env)
    cluster.programs.append(worker)
    worker.says(rf"joined the coordinator.*127\.0\.0\.1:{cluster.port}")
    cluster.coordinator.send(signal.SIGTERM)
    worker.says("the coordinator has ended; leaving")


def test_a_worker_that_joins_in_the_middle_gets_work_at_once(cluster: rig.Cluster) -> None:
    cluster.worker()
    cluster.worker()
    with plait.Client(cluster.client_line) as client:
        workers(client, 2)
        futures = [client.submit(where, 0.1) for _ in range(200)]
        first = {future.result(rig.PATIENCE) for future in futures[:4]}
        assert len(first) == 2
        third = cluster.worker()
        places = [future.result(rig.PATIENCE) for future in futures]
        assert places.count(third.pid) > 10


def test_sigterm_drains(cluster: rig.Cluster, tmp_path: Path) -> None:
    log = tmp_path / "log"
    leaving = cluster.worker()
    with plait.Client(cluster.client_line) as client:
        workers(client, 1)
        running = client.submit(logged, str(log), 2.0)
        queued = [client.submit(where, 0.0) for _ in range(50)]
        rig.eventually(log.exists, "the task runs")
        staying = cluster.worker()
        leaving.send(signal.SIGTERM)
        assert {future.result(rig.PATIENCE) for future in queued} == {staying.pid}
        assert running.result(rig.PATIENCE) == leaving.pid
        assert leaving.ends() == 0, leaving.story()
        assert log.read_text() == "begun\n"


def test_sigterm_drains_a_prototypes_worker_node(cluster: rig.Cluster, tmp_path: Path) -> None:
    code = "import os, sys; os.environ['PLAIT_ADDRESS'] = sys.argv[1]; from plait.compat import WorkerNode as Node"
    log = tmp_path / "log"
    node = cluster.python(f"{code}; Node('127.0.0.1', {cluster.port}, slots=1).run()", cluster.worker_line)
    with plait.Client(cluster.client_line) as client:
        workers(client, 1)
        running = client.submit(logged, str(log), 1.0)
        rig.eventually(log.exists, "the task runs")
        node.send(signal.SIGTERM)
        assert running.result(rig.PATIENCE) == node.pid
        assert node.ends() == 0, node.story()


def test_a_second_sigterm_ends_a_worker_now(cluster: rig.Cluster, tmp_path: Path) -> None:
    log = tmp_path / "log"
    leaving = cluster.worker()
    with plait.Client(cluster.client_line) as client:
        future = client.submit(logged, str(log), 3.0)
        rig.eventually(log.exists, "the task runs")
        leaving.send(signal.SIGTERM)
        rig.eventually(lambda: "draining" in {worker.state for worker in client.workers()}, "it drains")
        leaving.send(signal.SIGTERM)
        leaving.ends(2.5)
        cluster.worker()
        assert future.result(rig.PATIENCE) != leaving.pid
        assert log.read_text() == "begun\n" * 2


def test_a_killed_worker_loses_nothing(cluster: rig.Cluster) -> None:
    killed = cluster.worker()
    cluster.worker()
    numbers = range(2_000)
    with plait.Client(cluster.client_line) as client:
        workers(client, 2)
        progress: list[int] = []

        def kill_in_the_middle(done: int, total: int | None) -> None:
            progress.append(done)
            if done > 500 and killed.process.poll() is None:
                killed.send(signal.SIGKILL)

        text = client.run(slow_str, numbers, reduce=operator.add, progress=kill_in_the_middle)
        assert text == "".join(map(str, numbers))
        assert killed.ends() == -signal.SIGKILL


def test_a_client_that_was_cut_goes_on(cluster: rig.Cluster, proxy: rig.Proxy) -> None:
    cluster.worker()
    with plait.Client(proxy.line(cluster.client_line)) as client:
        futures = [client.submit(slow_str, n) for n in range(1_000)]
        futures[10].result(rig.PATIENCE)
        proxy.cut()
        late = [client.submit(slow_str, n) for n in range(1_000, 1_100)]
        heal = threading.Timer(20.0, proxy.heal)
        heal.start()
        assert [future.result(rig.PATIENCE) for future in futures + late] == [str(n) for n in range(1_100)]
        heal.join()


def test_a_client_that_is_cut_again_and_again_loses_nothing(
    cluster: rig.Cluster, proxy: rig.Proxy, rounds: int
) -> None:
    cluster.worker()
    cuts = max(5, rounds // 100)
    with plait.Client(proxy.line(cluster.client_line)) as client:
        futures: list[plait.Future[str]] = []
        for _ in range(cuts):
            futures += [client.submit(slow_str, n) for n in range(len(futures), len(futures) + 50)]
            proxy.cut()
            futures += [client.submit(slow_str, n) for n in range(len(futures), len(futures) + 10)]
            proxy.heal()
            assert futures[-10].result(rig.PATIENCE) == str(len(futures) - 10), "submitted while it was cut"
        assert [future.result(rig.PATIENCE) for future in futures] == [str(n) for n in range(60 * cuts)]
    assert proxy.accepted > cuts, "it came back after every cut"


def test_a_client_that_is_cut_by_the_clock_runs_each_task_once(
    cluster: rig.Cluster, proxy: rig.Proxy, tmp_path: Path, rounds: int
) -> None:
    """The worker stays, so whatever ran twice was submitted twice."""
    log = tmp_path / "log"
    cluster.worker()
    cuts = 2 if rounds <= 200 else 12
    over = threading.Event()

    def cut() -> None:
        for _ in range(cuts):
            over.wait(SECONDS_BETWEEN_CUTS)
            proxy.cut()
            proxy.heal()
        over.set()

    with plait.Client(proxy.line(cluster.client_line)) as client:
        cutting = threading.Thread(target=cut)
        cutting.start()
        futures: list[plait.Future[int]] = []
        try:
            while not over.is_set():
                futures += [client.submit(noted, str(log), n) for n in range(len(futures), len(futures) + 20)]
                futures[-15].result(rig.PATIENCE)
        finally:
            over.set()
            cutting.join(rig.PATIENCE)
        # The last cut may have come when everything was there already: only new work shows that it is back.
        futures.append(client.submit(noted, str(log), len(futures)))
        assert [future.result(rig.PATIENCE) for future in futures] == list(range(len(futures)))
    assert sorted(map(int, log.read_text().split())) == list(range(len(futures)))
    assert proxy.accepted > cuts, "it came back after every cut"


def test_a_client_whose_cable_was_pulled_goes_on(cluster: rig.Cluster, proxy: rig.Proxy) -> None:
    cluster.worker()
    with plait.Client(proxy.line(cluster.client_line)) as client:
        assert client.submit(slow_str, 1).result(rig.PATIENCE) == "1"
        proxy.freeze()
        late = [client.submit(slow_str, n) for n in range(100)]
        heal = threading.Timer(15.0, proxy.heal)
        heal.start()
        assert [future.result(rig.PATIENCE) for future in late] == [str(n) for n in range(100)]
        heal.join()


def test_a_task_that_holds_the_gil_in_c_stops_nobody(cluster: rig.Cluster, tmp_path: Path, rounds: int) -> None:
    begun = tmp_path / "begun"
    worker = cluster.worker(slots=2)
    seconds = 13 if rounds <= 200 else 60  # longer than a silent worker is tolerated
    with plait.Client(cluster.client_line) as client:
        holder = client.submit(hold_the_gil, str(begun), seconds)
        rig.eventually(begun.exists, "the task runs")
        while not holder.done():
            assert client.submit(operator.add, 1, 1).result(rig.PATIENCE) == 2
            cluster.start("status").succeeds(patience=8)
        assert holder.result() == worker.pid
        assert [info.state for info in client.workers()] == ["live"]


def test_a_stopped_worker_is_given_up_and_comes_back(cluster: rig.Cluster) -> None:
    stopped = cluster.worker()
    cluster.worker()
    with plait.Client(cluster.client_line) as client:
        workers(client, 2)
        futures = [client.submit(slow_str, n) for n in range(3_000)]
        futures[10].result(rig.PATIENCE)
        stopped.send(signal.SIGSTOP)
        assert [future.result(rig.PATIENCE) for future in futures] == [str(n) for n in range(3_000)]
        workers(client, 1)
        stopped.send(signal.SIGCONT)
        workers(client, 2)
        places = [client.submit(where, 0.05) for _ in range(40)]
        assert stopped.pid in {place.result(rig.PATIENCE) for place in places}


def test_a_client_may_listen_itself(tmp_path: Path) -> None:
    home = {"PLAIT_HOME": str(tmp_path), "PLAIT_ADDRESS": ""}
    script = rig.python(
        "import os, time, plait\n"
        "def where(_):\n"
        "    time.sleep(0.05)\n"
        "    return os.getppid()\n"
        "with plait.Client(slots=1, listen='127.0.0.1:0') as client:\n"
        "    print(client.join_line, flush=True)\n"
        "    while len(client.workers()) < 2: time.sleep(0.05)\n"
        "    print('places', *sorted(set(client.map(where, range(100)))))\n",
        env=home,
    )
    line = script.says(r"(plait1w-\S+)")[1]
    worker = rig.plait("worker", line, "--slots", "1", env=home)
    try:
        assert str(worker.pid) in script.says(r"^places \d+ \d+$")[0]
        assert script.ends() == 0, script.story()
        assert worker.ends() == 0, worker.story()
    finally:
        script.stop()
        worker.stop()


def test_the_coordinator_says_goodbye_to_its_workers(cluster: rig.Cluster) -> None:
    worker = cluster.worker()
    with plait.Client(cluster.client_line) as client:
        workers(client, 1)
    cluster.coordinator.send(signal.SIGTERM)
    assert cluster.coordinator.ends() == 0, cluster.coordinator.story()
    assert worker.ends() == 0, worker.story()
    assert not cluster.coordinator.err, cluster.coordinator.story()


def test_a_coordinator_on_the_home_of_another_says_so(cluster: rig.Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    second = cluster.start("coordinator", "--bind", "127.0.0.1:0")
    second.says("clients")
    rig.eventually(lambda: second.err, "it is told")
    assert len(second.err) == 1, second.story()
    assert f"led to 127.0.0.1:{cluster.port}" in second.err[0], second.story()
    monkeypatch.setenv("PLAIT_HOME", str(cluster.home))
    with pytest.warns(UserWarning, match="another coordinator is alive"), plait.Client(slots=0, listen="127.0.0.1:0"):
        pass
    # Where warnings are errors it serves all the same: the join files lead to it already.
    heard: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda broken: heard.append(str(broken.exc_value)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with plait.Client(slots=0, listen="127.0.0.1:0"):
            assert "another coordinator is alive" in str(heard)


WAITS = """
import sys, plait
from concurrent.futures import wait
with plait.Client() as client:
    future = client.submit(pow, 2, 5)
    if sys.argv[1] == "wait":
        wait([future])
    print(future.result())
"""


@pytest.mark.parametrize("how", ["result", "wait"])
def test_who_waits_without_workers_is_told_so_once(cluster: rig.Cluster, how: str) -> None:
    script = cluster.python(WAITS, how)
    rig.eventually(lambda: script.err, "it is told")
    cluster.worker()
    assert script.ends() == 0, script.story()
    assert script.out == ["32"]
    assert script.err == ["plait: waiting for workers: none is there"]


def test_a_client_is_told_that_its_coordinator_was_stopped(cluster: rig.Cluster) -> None:
    with plait.Client(cluster.client_line) as client:
        pending = client.submit(pow, 2, 5)
        assert not pending.done()
        cluster.coordinator.send(signal.SIGTERM)
        with pytest.raises(plait.CoordinatorLost, match="the coordinator was stopped"):
            pending.result(rig.PATIENCE)


def test_who_asks_a_coordinator_that_has_ended_for_workers_is_told_so_at_once(cluster: rig.Cluster) -> None:
    with plait.Client(cluster.client_line) as client:
        assert client.workers() == []
        cluster.coordinator.send(signal.SIGTERM)
        cluster.coordinator.ends()
        with pytest.raises(plait.CoordinatorLost, match="the coordinator is lost"):
            client.workers()
