"""Pieces of a run that take longer than was foreseen are shared by all workers."""

from __future__ import annotations

import operator
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import plait
import rig
from plait._chunks import Sizer

ITEMS = 8


@pytest.fixture
def one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a run be a single piece."""
    monkeypatch.setattr(Sizer, "size", lambda _self, _slots: ITEMS)


def work_in(folder: Path) -> Callable[[int], list[int]]:
    """Return a function whose first item takes until the last one is over, and which leaves word of who ran what."""
    text, patience = str(folder), rig.PATIENCE

    def wait_for(name: str) -> None:
        deadline = time.monotonic() + patience
        while not os.path.exists(os.path.join(text, name)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"no {name}")
            time.sleep(0.001)

    def work(n: int) -> list[int]:
        with open(os.path.join(text, f"ran-{n}"), "a") as log:
            log.write(f"{os.getppid()}\n")
        if n == 0:
            wait_for("last")
        if n == ITEMS - 1:
            if os.path.exists(os.path.join(text, "hold")):
                wait_for("never")
            open(os.path.join(text, "last"), "w").close()
        return [n]

    return work


def who_ran(folder: Path, item: int) -> list[int]:
    """Return the workers that began an item."""
    path = folder / f"ran-{item}"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def run(client: plait.Client, work: Callable[[int], list[int]], finish: str) -> list[int]:
    if finish == "reduce":
        reduced: list[int] = client.run(work, range(ITEMS), reduce=operator.add)
        return reduced
    combined: list[int] = client.run(work, range(ITEMS), combine=lambda lists: [n for one in lists for n in one])
    return combined


@pytest.mark.parametrize("finish", ["reduce", "combine"])
def test_the_end_of_a_long_piece_goes_to_another_worker(
    cluster: rig.Cluster, tmp_path: Path, one_piece: None, finish: str
) -> None:
    pids = [cluster.worker().pid for _ in range(2)]
    with plait.Client(cluster.client_line) as client:
        rig.eventually(lambda: len(client.workers()) == 2, "two workers")
        assert run(client, work_in(tmp_path), finish) == list(range(ITEMS))
    ran = [who_ran(tmp_path, item) for item in range(ITEMS)]
    assert all(len(workers) == 1 for workers in ran), "nothing is run twice"
    (first,), (last,) = ran[0], ran[-1]
    assert {first, last} == set(pids)


def test_an_end_that_is_lost_with_its_worker_goes_to_one_that_comes(
    cluster: rig.Cluster, tmp_path: Path, one_piece: None
) -> None:
    for _ in range(2):
        cluster.worker()
    (tmp_path / "hold").touch()
    with ThreadPoolExecutor(1) as threads, plait.Client(cluster.client_line) as client:
        rig.eventually(lambda: len(client.workers()) == 2, "two workers")
        result = threads.submit(run, client, work_in(tmp_path), "reduce")
        (taker,) = rig.eventually(lambda: who_ran(tmp_path, ITEMS - 1), "the last item has begun")
        assert [taker] != who_ran(tmp_path, 0)
        (tmp_path / "hold").unlink()
        os.kill(taker, signal.SIGKILL)
        rig.eventually(lambda: len(client.workers()) == 1, "one worker is lost")
        late = cluster.worker().pid
        assert result.result() == list(range(ITEMS))
    assert len(who_ran(tmp_path, 0)) == 1, "the first item was never lost"
    assert who_ran(tmp_path, ITEMS - 1) == [taker, late]


@pytest.mark.parametrize("ask", ["run", "map"])
def test_what_a_chunk_gives_back_goes_to_both_workers(
    cluster: rig.Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: str
) -> None:
    """Two items of it wait for each other."""
    count, folder = 100, str(tmp_path)
    monkeypatch.setattr(Sizer, "size", lambda _self, _slots: count)

    def work(n: int) -> int:
        if n == 2:
            time.sleep(0.1)  # longer than any chunk may take
        if n in (10, 90):
            open(os.path.join(folder, f"begun-{n}"), "w").close()
            while not os.path.exists(os.path.join(folder, f"begun-{100 - n}")):
                time.sleep(0.001)
        return n

    for _ in range(2):
        cluster.worker()
    with plait.Client(cluster.client_line) as client:
        rig.eventually(lambda: len(client.workers()) == 2, "two workers")
        assert list(getattr(client, ask)(work, range(count))) == list(range(count))
