"""Tasks that follow on each other: a worker has them before their inputs are there, and goes on by itself."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest

import plait
import rig

#: No more than a worker is given in advance before anybody knows how long such a task takes.
LINKS = 12


def link(folder: str, n: int, before: list[int]) -> list[int]:
    """Leave a mark, wait for a gate if there is one, and go on from what was before."""
    path = Path(folder)
    (path / f"begun{n}").touch()
    if n == 0:
        rig.eventually((path / "gate").exists, "the gate is open")
    return [*before, n]


def add(*parts: int) -> int:
    return sum(parts)


def add_or_die(path: str, *parts: int) -> int:
    """The first to come takes its executor down."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return sum(parts)
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def refuse(*_parts: Any) -> int:
    raise ValueError("not this one")


def chain(client: plait.Client, folder: Path, links: int) -> plait.Future[list[int]]:
    last = client.submit(link, str(folder), 0, [])
    for n in range(1, links):
        last = client.submit(link, str(folder), n, last)
    return last


def test_a_chain_goes_on_while_the_coordinator_stands_still(cluster: rig.Cluster, tmp_path: Path) -> None:
    cluster.worker()
    with plait.Client(cluster.client_line) as client:
        last = chain(client, tmp_path, LINKS)
        rig.eventually((tmp_path / "begun0").exists, "the first one runs")
        # Behind what was submitted, so the coordinator has seen to all of it.
        assert len(client.workers()) == 1
        cluster.coordinator.send(signal.SIGSTOP)
        try:
            (tmp_path / "gate").touch()
            rig.eventually((tmp_path / f"begun{LINKS - 1}").exists, "the last one runs", patience=5)
            assert not last.done()
        finally:
            cluster.coordinator.send(signal.SIGCONT)
        assert last.result(rig.PATIENCE) == list(range(LINKS))


def test_a_chain_whose_worker_is_lost_begins_anew_elsewhere(cluster: rig.Cluster, tmp_path: Path) -> None:
    lost = cluster.worker()
    with plait.Client(cluster.client_line) as client:
        last = chain(client, tmp_path, LINKS)
        rig.eventually((tmp_path / "begun0").exists, "the first one runs")
        lost.send(signal.SIGKILL)
        cluster.worker()
        (tmp_path / "gate").touch()
        assert last.result(rig.PATIENCE) == list(range(LINKS))


def test_what_follows_on_a_crash_a_failure_and_a_cancel_fares_as_ever(cluster: rig.Cluster, tmp_path: Path) -> None:
    cluster.worker()
    with plait.Client(cluster.client_line) as client:
        first = client.submit(link, str(tmp_path), 0, [])
        begun = client.submit(len, first)
        crashes = client.submit(add_or_die, str(tmp_path / "died"), begun)
        fails = client.submit(refuse, begun)
        behind = [client.submit(add, crashes, 1), client.submit(add, fails, 1), client.submit(add, begun, 1)]
        assert behind[2].cancel()
        (tmp_path / "gate").touch()
        assert behind[0].result(rig.PATIENCE) == 2
        with pytest.raises(plait.DependencyFailed) as failed:
            behind[1].result(rig.PATIENCE)
        assert isinstance(failed.value.__cause__, ValueError)
        assert behind[2].cancelled()


@pytest.mark.parametrize("seed", range(3))
def test_a_graph_is_what_it_would_be_in_plain_python(cluster: rig.Cluster, seed: int) -> None:
    draw = random.Random(seed)
    pair = [cluster.worker(slots=2), cluster.worker(slots=2)]
    with plait.Client(cluster.client_line) as client:
        rig.eventually(lambda: len(client.workers()) == 2, "two workers")
        futures: list[Any] = [1]
        values = [1]
        for n in range(1_500):
            reach = min(len(values), draw.choice([3, 3, 3, 40]))
            chosen = [draw.randrange(len(values) - reach, len(values)) for _ in range(draw.randint(1, 3))]
            futures.append(client.submit(add, n, *(futures[at] for at in chosen)))
            values.append(n + sum(values[at] for at in chosen))
            if n == 700:
                pair[draw.randrange(2)].send(signal.SIGKILL)
        assert [future.result(rig.PATIENCE) for future in futures[1:]] == values[1:]
