"""Chunks that take longer than was foreseen are shared by all workers."""

from __future__ import annotations

import operator
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import plait
import rig
from plait._chunks import Sizer

ITEMS = 8


@pytest.fixture
def one_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a map or a run be a single chunk, where plait chooses."""
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
    sizes = {"map": {}, "chunksize": {"chunksize": ITEMS}, "buffersize": {"chunksize": ITEMS, "buffersize": ITEMS}}
    if finish in sizes:
        return [n for one in client.map(work, range(ITEMS), **sizes[finish]) for n in one]
    if finish == "unordered":
        results = client.options(ordered=False).map(work, range(ITEMS), chunksize=ITEMS)
        return sorted(n for one in results for n in one)
    if finish == "list":
        return [n for one in client.run(work, range(ITEMS)) for n in one]
    if finish == "reduce":
        reduced: list[int] = client.run(work, range(ITEMS), reduce=operator.add)
        return reduced
    combined: list[int] = client.run(work, range(ITEMS), combine=lambda lists: [n for one in lists for n in one])
    return combined


@pytest.mark.parametrize("finish", ["reduce", "combine", "list", "map", "chunksize", "buffersize", "unordered"])
def test_the_end_of_a_long_chunk_goes_to_another_worker(
    cluster: rig.Cluster, tmp_path: Path, one_chunk: None, finish: str
) -> None:
    pids = [cluster.worker().pid for _ in range(2)]
    with plait.Client(cluster.client_line) as client:
        rig.eventually(lambda: len(client.workers()) == 2, "two workers")
        assert run(client, work_in(tmp_path), finish) == list(range(ITEMS))
    ran = [who_ran(tmp_path, item) for item in range(ITEMS)]
    assert all(len(workers) == 1 for workers in ran), "nothing is run twice"
    (first,), (last,) = ran[0], ran[-1]
    assert {first, last} == set(pids)


@pytest.mark.parametrize("finish", ["reduce", "map", "chunksize"])
def test_an_end_that_is_lost_with_its_worker_goes_to_one_that_comes(
    cluster: rig.Cluster, tmp_path: Path, one_chunk: None, finish: str
) -> None:
    for _ in range(2):
        cluster.worker()
    (tmp_path / "hold").touch()
    with ThreadPoolExecutor(1) as threads, plait.Client(cluster.client_line) as client:
        rig.eventually(lambda: len(client.workers()) == 2, "two workers")
        result = threads.submit(run, client, work_in(tmp_path), finish)
        (taker,) = rig.eventually(lambda: who_ran(tmp_path, ITEMS - 1), "the last item has begun")
        assert [taker] != who_ran(tmp_path, 0)
        (tmp_path / "hold").unlink()
        os.kill(taker, signal.SIGKILL)
        rig.eventually(lambda: len(client.workers()) == 1, "one worker is lost")
        late = cluster.worker().pid
        assert result.result() == list(range(ITEMS))
    assert len(who_ran(tmp_path, 0)) == 1, "the first item was never lost"
    assert who_ran(tmp_path, ITEMS - 1) == [taker, late]


@pytest.mark.parametrize("finish", ["reduce", "map", "chunksize"])
def test_a_chunk_that_is_lost_after_its_end_was_given_is_run_again_without_it(
    cluster: rig.Cluster, tmp_path: Path, one_chunk: None, finish: str
) -> None:
    for _ in range(2):
        cluster.worker()
    (tmp_path / "hold").touch()
    with ThreadPoolExecutor(1) as threads, plait.Client(cluster.client_line) as client:
        rig.eventually(lambda: len(client.workers()) == 2, "two workers")
        result = threads.submit(run, client, work_in(tmp_path), finish)
        (taker,) = rig.eventually(lambda: who_ran(tmp_path, ITEMS - 1), "the last item has begun")
        # It may begin later: what takes long may be to unpickle the function there.
        (giver,) = rig.eventually(lambda: who_ran(tmp_path, 0), "so has the first one")
        os.kill(giver, signal.SIGKILL)
        rig.eventually(lambda: len(client.workers()) == 1, "one worker is lost")
        late = cluster.worker().pid
        rig.eventually(lambda: len(who_ran(tmp_path, 0)) == 2, "the first item has begun again")
        (tmp_path / "never").touch()
        assert result.result() == list(range(ITEMS))
    assert who_ran(tmp_path, 0) == [giver, late]
    assert who_ran(tmp_path, ITEMS - 1) == [taker]


def shared_chunk(client: plait.Client, gate: Path, trouble: Callable[[int], int], **options: Any) -> plait.Results[int]:
    """Map over a chunk whose first item takes until one of its last four has begun, for which `trouble` is called."""
    text, patience = str(gate), rig.PATIENCE

    def work(n: int) -> int:
        deadline = time.monotonic() + patience
        while n == 0 and not os.path.exists(text):
            if time.monotonic() > deadline:
                raise TimeoutError("nobody has the last items")
            time.sleep(0.001)
        if n < 4:
            return n
        open(text, "w").close()
        return trouble(n)

    return client.options(**options).map(work, range(ITEMS), chunksize=ITEMS)


@pytest.fixture
def pair(cluster: rig.Cluster) -> Iterator[plait.Client]:
    """Give a client of two workers of one slot each; nothing may be left to do in the end."""
    for _ in range(2):
        cluster.worker()
    with plait.Client(cluster.client_line) as client:
        rig.eventually(lambda: len(client.workers()) == 2, "two workers")
        yield client
        assert client._core.session.wait_idle(rig.PATIENCE), "something is pending"
        rig.eventually(lambda: all(worker.running == 0 for worker in client.workers()), "nothing runs")


@pytest.mark.parametrize("ordered", [True, False])
def test_the_items_of_an_end_fail_are_retried_and_crash_as_any(
    pair: plait.Client, tmp_path: Path, ordered: bool
) -> None:
    once = str(tmp_path / "once")

    def trouble(n: int) -> int:
        if n == 5:
            raise ValueError(n)
        if n == 6 and not os.path.exists(once):
            open(once, "w").close()
            raise ValueError(n)
        if n == 7:
            os._exit(3)
        return n

    options = {"errors": "return", "retries": 1, "crash_limit": 2, "ordered": ordered}
    outcomes = list(shared_chunk(pair, tmp_path / "gate", trouble, **options))
    if not ordered:
        outcomes.sort(key=lambda outcome: outcome.item)
    assert [outcome.item for outcome in outcomes] == list(range(ITEMS))
    assert [outcome.value for outcome in outcomes] == [0, 1, 2, 3, 4, None, 6, None]
    failed, crashed = outcomes[5].error, outcomes[7].error
    assert isinstance(failed, ValueError) and isinstance(crashed, plait.TaskCrashed)
    assert "task i" in failed.__notes__[-1], "the coordinator made that task"
    assert len(crashed.attempts) == 2
    assert {outcomes[0].worker, outcomes[4].worker} == {worker.name for worker in pair.workers()}


def test_an_error_of_an_end_follows_the_results_before_it_and_cancels_the_rest(
    pair: plait.Client, tmp_path: Path
) -> None:
    def trouble(n: int) -> int:
        if n == 6:
            raise ValueError(n)
        return n

    results = shared_chunk(pair, tmp_path / "gate", trouble)
    assert [next(results) for _ in range(6)] == [0, 1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match="6"):
        next(results)
    assert list(results) == []
    skipped = shared_chunk(pair, tmp_path / "another", trouble, errors="skip")
    assert list(skipped) == [0, 1, 2, 3, 4, 5, 7]


def test_an_end_that_fails_as_such_fails_item_by_item(pair: plait.Client, tmp_path: Path) -> None:
    class Poison:
        def __reduce__(self) -> Any:
            os._exit(3)

    def trouble(n: int) -> Any:
        return Poison() if n == 6 else n

    results = shared_chunk(pair, tmp_path / "gate", trouble, errors="return", crash_limit=1)
    outcomes = list(results)
    assert [outcome.value for outcome in outcomes] == [0, 1, 2, 3, 4, 5, None, 7]
    assert isinstance(outcomes[6].error, plait.TaskCrashed)


def test_unordered_results_of_an_end_do_not_wait_for_its_chunk(pair: plait.Client, tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")
    patience = rig.PATIENCE

    def work(n: int) -> int:
        deadline = time.monotonic() + patience
        while n == 0 and not os.path.exists(gate) and time.monotonic() < deadline:
            time.sleep(0.001)
        return n

    results = pair.options(ordered=False).map(work, range(ITEMS), chunksize=ITEMS)
    first = next(results)
    assert first != 0
    open(gate, "w").close()
    assert sorted([first, *results]) == list(range(ITEMS))


@pytest.mark.parametrize("how", ["close", "timeout", "taken over"])
def test_a_map_that_ends_early_stops_the_ends_of_its_chunks_too(pair: plait.Client, tmp_path: Path, how: str) -> None:
    folder, patience = str(tmp_path), rig.PATIENCE

    def work(n: int) -> int:
        open(os.path.join(folder, f"begun-{n}"), "w").close()
        time.sleep(patience)
        return n

    timeout = 2.0 if how == "timeout" else None
    results = pair.options(ordered=False).map(work, range(ITEMS), chunksize=ITEMS, timeout=timeout)
    begin = time.monotonic()
    rig.eventually(lambda: len(list(tmp_path.glob("begun-*"))) == 2, "the first item has begun, and one of the end")
    with ThreadPoolExecutor(1) as threads:
        if how == "timeout":
            with pytest.raises(TimeoutError):
                next(results)
        if how == "taken over":
            waiting = threads.submit(next, results, None)
            rig.eventually(lambda: len(results._sent) == 2, "what the end has become is waited for")
        results.close()
        if how == "taken over":
            assert waiting.result(patience) is None
    assert pair._core.session.wait_idle(patience) and list(results) == []
    assert time.monotonic() - begin < patience, "nothing was waited for"
    assert pair.submit(sum, (1, 2)).result() == 3


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
