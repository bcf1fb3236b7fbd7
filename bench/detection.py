"""How soon plait knows that something is gone, against what it promises: `make bench-detection`.

Each figure runs from just before the fault until a client can see its consequence, so it also pays for the way there.
The faults are real: SIGKILL, SIGSTOP, and packets that a router loses (where this machine makes network namespaces).
"""

from __future__ import annotations

import os
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click

import plait

# The processes and networks of the tests.
sys.path.append(str(Path(__file__).parent.parent / "tests"))

import network
import rig

#: Workers that are silenced at once: each is a figure.
WORKERS = 6
#: Faults come at any point between two heartbeats, in seconds.
HEARTBEAT = 2.0
#: How often a client looks, in seconds.
LOOK = 0.002
#: How the packets of a host are lost.
CUTS: dict[str, Callable[[network.Host], None]] = {
    "what it sends is lost": network.Host.mute,
    "what it hears is lost": network.Host.deafen,
}


def hold(path: str) -> None:
    """Say who runs this, and go on for ever."""
    Path(path).write_text(str(os.getpid()))
    while True:
        time.sleep(3600)


def await_mark(path: Path) -> int:
    """Wait until a task runs; who runs it."""
    return int(rig.eventually(lambda: path.read_text() if path.exists() else "", "the task runs"))


def executor_deaths(rounds: int) -> list[float]:
    """Kill executors in the middle of a task: how long until its future knows."""
    took = []
    with tempfile.TemporaryDirectory() as folder, plait.Client(slots=2) as client:
        for n in range(rounds):
            future = client.options(crash_limit=1).submit(hold, f"{folder}/{n}")
            pid = await_mark(Path(folder, str(n)))
            began = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            assert isinstance(future.exception(rig.PATIENCE), plait.TaskCrashed)
            took.append(time.monotonic() - began)
    return took


def await_loss(client: plait.Client, name: str) -> float:
    """Wait until this worker is no longer there; when that was."""
    while any(worker.name == name for worker in client.workers()):
        threading.Event().wait(LOOK)
    return time.monotonic()


def lose(client: plait.Client, faults: dict[str, Callable[[], None]]) -> list[float]:
    """Do something to each worker, by its name, at any time within a heartbeat; how long until it is given up."""
    took: list[float] = []

    def one(name: str, fault: Callable[[], None]) -> None:
        threading.Event().wait(random.uniform(0, HEARTBEAT))
        began = time.monotonic()
        fault()
        took.append(await_loss(client, name) - began)

    threads = [threading.Thread(target=one, args=item) for item in faults.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return took


def names(client: plait.Client) -> dict[str, int]:
    """The workers and their process ids."""
    return {worker.name: int(worker.name.rpartition(":")[2]) for worker in client.workers()}


def signalled(number: signal.Signals) -> list[float]:
    """Send workers a signal: how long until they are given up."""
    with tempfile.TemporaryDirectory() as home:
        cluster = rig.Cluster(Path(home))
        try:
            for _ in range(WORKERS):
                cluster.worker()
            with plait.Client(cluster.client_line) as client:
                rig.eventually(lambda: len(client.workers()) == WORKERS, "all workers")
                pids = names(client)
                return lose(client, {name: partial(os.kill, pid, number) for name, pid in pids.items()})
        finally:
            cluster.stop()


def lose_packets(host: network.Host, cuts: list[Callable[[network.Host], None]]) -> None:
    """Begin to lose them, in one direction or in both."""
    for cut in cuts:
        cut(host)


def cut_off(cuts: list[Callable[[network.Host], None]]) -> list[float]:
    """Lose packets of workers' hosts: how long until they are given up."""
    net = network.Network()
    with tempfile.TemporaryDirectory() as home:
        with net.centre.inside():
            cluster = rig.Cluster(Path(home), net.centre.address)
            client = plait.Client(cluster.client_line)
        try:
            hosts = {}
            for _ in range(WORKERS):
                host = net.host()
                with host.inside():
                    hosts[cluster.worker().pid] = host
            rig.eventually(lambda: len(client.workers()) == WORKERS, "all workers")
            faults: dict[str, Callable[[], None]] = {
                name: partial(lose_packets, hosts[pid], cuts) for name, pid in names(client).items()
            }
            return lose(client, faults)
        finally:
            client.shutdown()
            cluster.stop()
            net.close()


def show(fault: str, promised: float, took: list[float]) -> None:
    """Print one row."""
    verdict = "" if max(took) <= promised else "   MISSED"
    figures = f"{statistics.median(took) * 1e3:>9,.1f} {max(took) * 1e3:>9,.1f} {promised * 1e3:>9,.0f}"
    click.echo(f"{fault:<46} {len(took):>4} {figures}{verdict}")


@click.command()
@click.option("--rounds", default=50, show_default=True, help="How many executors are killed.")
def main(rounds: int) -> None:
    """Measure how soon deaths and silence are noticed, in milliseconds."""
    os.environ.pop("PLAIT_ADDRESS", None)
    click.echo(f"{'ms until noticed':<46} {'n':>4} {'median':>9} {'worst':>9} {'promised':>9}")
    show("an executor is killed", 0.1, executor_deaths(rounds))
    show("a worker is killed: its socket closes", 1.0, signalled(signal.SIGKILL))
    show("a worker is stopped: silence", 10.0, signalled(signal.SIGSTOP))
    try:
        network.Network().close()
    except network.Unavailable as why:
        return click.echo(f"a worker is cut off: not measured, {why}")
    for name, cut in CUTS.items():
        show(f"a worker is cut off: {name}", 10.0, cut_off([cut]))
    show("a worker is cut off: both", 10.0, cut_off(list(CUTS.values())))
    return None


if __name__ == "__main__":
    main()
