"""Large values: shared as memory where they stay on this machine, never seen half, never kept too long."""

from __future__ import annotations

import array
import contextlib
import fcntl
import gc
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import plait
from rig import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Far above what is passed as memory, and so much that a client keeps no copy of what it sent until later.
LARGE = 4 << 20


def echo(value: Any) -> Any:
    return value


def held() -> tuple[int, int]:
    """Descriptors of this process that are blobs, and how many of them it maps."""
    links = []
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            links.append(os.readlink(entry))
    maps = Path("/proc/self/maps").read_text()
    return sum("plait-blob" in link for link in links), maps.count("plait-blob")


@pytest.fixture
def client() -> Iterator[plait.Client]:
    """A client with two slots that leaves no memory behind."""
    with plait.Client(slots=2) as client:
        yield client
        gc.collect()
        eventually(lambda: held() == (0, 0), "no blob is held or mapped")


def values() -> dict[str, Any]:
    ramp = np.arange(LARGE // 8, dtype=np.float64)
    return {
        "plain": ramp,
        "Fortran order": np.asfortranarray(ramp.reshape(1024, -1)),
        "not contiguous": np.arange(LARGE // 2)[::3],
        "transposed": ramp.reshape(1024, -1).T,
        "read-only": np.broadcast_to(ramp[:1], (LARGE,)),
        "of objects": np.array([{"n": n} for n in range(1000)] * 40, dtype=object),
        "empty": np.zeros((0, 7)),
        "without dimensions": np.array(7.5),
        "structured": np.zeros(LARGE // 12, dtype=[("a", "i4"), ("b", "f8")]),
        "bytes": b"x" * LARGE,
        "bytearray": bytearray(b"y" * LARGE),
        "array.array": array.array("d", [1.5]) * (LARGE // 8),
        "many": [np.full(400_000, n, dtype=np.uint8) for n in range(60)],
        "mixed": {"small": np.ones(3), "large": [ramp, ramp], "stream": "z" * LARGE},
        "buffer": pickle.PickleBuffer(bytearray(b"w" * LARGE)),
    }


def same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return bool(one.dtype == other.dtype and one.shape == other.shape and np.array_equal(one, other))
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


@pytest.mark.parametrize("kind", values())
def test_a_large_value_comes_back_as_pickle_would_make_it(client: plait.Client, kind: str) -> None:
    value = values()[kind]
    if isinstance(value, pickle.PickleBuffer):
        value = bytes(value)
        assert bytes(client.submit(echo, pickle.PickleBuffer(value)).result()) == value
    plain = pickle.loads(pickle.dumps(value, 5))
    assert same(client.submit(echo, value).result(), plain)
    assert same(client.submit(echo, client.submit(echo, value)).result(), plain), "and through another task"


@pytest.mark.parametrize("kind", sorted(values().keys() - {"buffer"}))
def test_a_large_value_that_is_put_comes_back_as_pickle_would_make_it(client: plait.Client, kind: str) -> None:
    value = values()[kind]
    plain, shared = pickle.loads(pickle.dumps(value, 5)), client.put(value)
    assert same(client.submit(echo, shared).result(), plain)
    assert same(shared.result(), plain)


def test_a_result_is_writable_and_nobody_elses(client: plait.Client) -> None:
    future = client.submit(np.zeros, LARGE, np.uint8)
    first = client.submit(echo, future)
    first.result()[:] = 7
    assert not future.result().any()
    assert not client.submit(echo, future).result().any()


def overwrite(value: Any) -> int:
    before = int(value.sum())
    value[:] = 9
    return before


def test_a_large_result_outlives_its_client() -> None:
    with plait.Client(slots=1) as client:
        future = client.submit(np.ones, LARGE // 8)
        client.submit(int).result()
        results = client.map(np.ones, [LARGE // 8] * 3)
    assert future.result().sum() == LARGE // 8
    assert [int(result.sum()) for result in results] == [LARGE // 8] * 3
    del future, results
    gc.collect()
    eventually(lambda: held() == (0, 0), "no blob is held or mapped")


def test_what_a_task_writes_to_its_argument_stays_there(client: plait.Client) -> None:
    shared = client.submit(np.zeros, LARGE, np.uint8)
    assert [client.submit(overwrite, shared).result() for _ in range(6)] == [0] * 6
    assert not shared.result().any()


def spoil(value: np.ndarray[Any, Any], place: int | None) -> float:
    """Sum an array, then write to it."""
    total = float(value.sum())
    if place is not None:
        value[place] = -1.0
    return total


def maps_here(_: object) -> int:
    return held()[1]


def test_tasks_that_write_and_tasks_that_read_share_an_array_in_turn() -> None:
    ramp = np.arange(LARGE, dtype=np.float64)
    places = [None, 0, None, None, LARGE - 1, LARGE // 2, None, None]
    with plait.Client(slots=1) as client:
        shared = client.put(ramp)
        told = [client.submit(spoil, shared, place).result(60) for place in places]
        assert told == [float(ramp.sum())] * len(places)
        assert client.submit(maps_here, np.zeros(LARGE)).result(60) == 1, (
            "its own argument, and nothing of an earlier order"
        )
        assert client.submit(maps_here, 0).result(60) == 0, "nothing is kept that this order does not need"


def test_a_task_sees_its_argument_as_it_was_at_submit(client: plait.Client) -> None:
    value = np.zeros(LARGE, np.uint8)
    futures = []
    for n in range(8):
        value[:] = n
        futures.append(client.submit(np.mean, value))
    assert [future.result() for future in futures] == list(range(8))


def test_an_array_given_to_many_calls_is_stored_once(client: plait.Client) -> None:
    array = np.ones(LARGE, np.uint8)
    futures = [client.submit(overwrite, array) for _ in range(20)]
    assert held()[0] <= 1, "one memory for all of them, as long as any needs it"
    assert {future.result() for future in futures} == {LARGE}
    assert array.all()


def twice(one: Any, other: Any) -> bool:
    one[0] = 5
    return bool(other[0] == 5)


def test_an_argument_repeated_in_a_call_is_one_object_there(client: plait.Client) -> None:
    value = np.zeros(LARGE, np.uint8)
    assert client.submit(twice, value, value).result()


def fork_and_change(value: Any) -> int:
    if (child := os.fork()) == 0:
        value[:] = 1
        os._exit(0)
    os.waitpid(child, 0)
    return int(value.sum())


def test_a_fork_in_a_task_keeps_its_writes(client: plait.Client) -> None:
    shared = client.submit(np.zeros, LARGE, np.uint8)
    assert client.submit(fork_and_change, shared).result() == 0


def test_a_fork_of_the_user_keeps_what_it_inherited(client: plait.Client) -> None:
    value = client.submit(np.full, LARGE, 3, np.uint8).result()
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writer, bytes([int(value.max())]))
        os._exit(0)
    del value
    assert client.submit(np.full, LARGE, 4, np.uint8).result().max() == 4
    assert os.read(reader, 1) == b"\x03"
    os.waitpid(child, 0)
    os.close(reader)
    os.close(writer)


def die_with(value: Any) -> None:
    os.kill(os.getpid(), 9)


def test_an_executor_that_dies_with_a_large_argument_leaves_nothing(client: plait.Client) -> None:
    doomed = client.options(crash_limit=1).submit(die_with, np.zeros(LARGE, np.uint8))
    with pytest.raises(plait.TaskCrashed):
        doomed.result()


def read_all(value: Any) -> int:
    """Read it all; return how much memory of this process is its own."""
    value.sum()
    text = Path("/proc/self/smaps_rollup").read_text()
    own = [int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith("Anonymous:")]
    return own[0]


def test_an_array_given_to_many_tasks_is_not_copied_there(client: plait.Client) -> None:
    size = 64 << 20
    idle = max(client.submit(read_all, np.zeros(1)).result() for _ in range(4))
    shared = client.submit(np.ones, size, np.uint8)
    assert max(client.submit(read_all, shared).result() for _ in range(6)) < idle + size // 4


def lie(kind: str) -> None:
    """Be a hostile executor: announce memory on the channel that is not what it should be."""
    links = {int(entry.name): os.readlink(entry) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()}
    sockets = [socket.socket(fileno=os.dup(fd)) for fd, link in links.items() if link.startswith("socket:")]
    channel, courier = sorted(sockets, key=lambda one: one.type)
    memory = os.memfd_create("plait-blob", os.MFD_ALLOW_SEALING)
    os.write(memory, b"x" * 400_000)
    if kind != "unsealed":
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, 0b1111)
    announced = {"short": 500_000, "endless": 1 << 50}.get(kind, 400_000)
    frame = struct.pack("<B3xIIQQ", 6, 16, 0, 0, announced)
    if kind != "none":
        socket.send_fds(courier, [b"p"], [memory] * (60 if kind == "too many" else 1))
    channel.send(frame)
    signal.pause()


@pytest.mark.parametrize("kind", ["unsealed", "short", "endless", "none", "too many"])
def test_an_executor_that_lies_about_memory_costs_itself_alone(client: plait.Client, kind: str) -> None:
    doomed = client.options(crash_limit=1).submit(lie, kind)
    with pytest.raises(plait.TaskCrashed):
        doomed.result(60)
    assert client.submit(np.ones, LARGE, np.uint8).result().all()


def test_a_put_is_done_and_shared_by_every_task_it_is_given_to(client: plait.Client) -> None:
    array = np.arange(LARGE, dtype=np.uint8)
    shared = client.put(array)
    assert shared.done()
    array[:] = 0
    expected = np.arange(LARGE, dtype=np.uint8)
    sums = [client.submit(np.sum, shared) for _ in range(20)]
    assert {int(future.result()) for future in sums} == {int(expected.sum())}
    assert np.array_equal(shared.result(), expected), "as it was when it was put"
    assert held() == (1, 2), "one memory, mapped by the store and by the array"


def test_a_put_outlives_its_future_as_long_as_a_task_needs_it(client: plait.Client) -> None:
    late = client.submit(np.sum, client.put(np.ones(LARGE, np.uint8)))
    assert late.result() == LARGE


def test_small_and_nested_puts_are_inputs_like_any_others(client: plait.Client) -> None:
    two, three = client.put(2), client.put([3])
    assert client.submit(pow, two, two).result() == 4
    assert client.submit(echo, {"a": [two, three]}).result() == {"a": [2, [3]]}
    assert list(client.map(pow, [two, two], [3, 4])) == [8, 16]
    assert not two.cancel()


def test_what_cannot_be_put_is_the_error_of_its_future(client: plait.Client) -> None:
    hidden = client.put({"lock": threading.Lock()})
    assert hidden.done()
    with pytest.raises(plait.SerializationError, match=r"value\['lock'\]"):
        hidden.result()
    with pytest.raises(plait.DependencyFailed):
        client.submit(echo, hidden).result()
    with pytest.raises(plait.SerializationError):
        client.put(client.put(1)).result()


def test_a_put_after_shutdown_is_refused() -> None:
    with plait.Client(slots=1) as client:
        client.put(1)
    with pytest.raises(RuntimeError):
        client.put(2)


def memory(what: str) -> int:
    """Return a figure of /proc/meminfo, in bytes."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(what))


def program(text: str, *args: object) -> list[str]:
    """Run a program of its own, which must say nothing on stderr; return the words that it says."""
    command = [sys.executable, "-c", text, *map(str, args)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (run.returncode, run.stderr) == (0, "")
    return run.stdout.split()


FEW_DESCRIPTORS = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (1_024, 1_024))
import numpy as np, plait
count = int(sys.argv[1])
with plait.Client(slots=2) as client:
    futures = [client.submit(np.full, 1 << 18, n % 256, np.uint8) for n in range(count)]
    total = sum(int(future.result()[-1]) for future in futures)
    again = [client.submit(np.mean, future) for future in futures[::10]]
    maps = sum("plait-blob" in line for line in open("/proc/self/maps"))
    print(total, sum(int(future.result()) for future in again), 0 < maps <= 1 << 14)
"""


def test_many_large_values_live_with_few_descriptors() -> None:
    count = 20_000
    if (takes := count * (1 << 18)) > memory("MemTotal") // 4 or takes > memory("MemAvailable") // 2:
        pytest.skip(f"so many values take {takes >> 30} GiB: more than may live on this machine, or than is free")
    expected = [sum(n % 256 for n in range(0, count, step)) for step in (1, 10)]
    assert program(FEW_DESCRIPTORS, count) == [*map(str, expected), "True"]


NO_DESCRIPTORS = """
import os, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512))
import numpy as np, plait

def take_all():
    taken = []
    try:
        while True:
            taken.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        return taken

def mean(*values):
    return [int(value.mean()) for value in values]

def take_all_there():
    global taken
    taken = take_all()
    return os.getpid()

with plait.Client(slots=1) as client:
    careful = client.options(crash_limit=1)
    careful.submit(mean).result()
    ours = take_all()
    there = careful.submit(np.full, 300_000, 1, np.uint8)
    print(mean(there.result(), *(careful.submit(np.full, 300_000, n, np.uint8).result() for n in range(30))))
    arrays = [np.full(300_000, n, np.uint8) for n in range(30)]
    print(careful.submit(mean, there, *arrays).result())
    ours = [os.close(descriptor) for descriptor in ours]
    pid = careful.submit(take_all_there).result()
    print(careful.submit(mean, there, *arrays).result())
    print([int(careful.submit(np.copy, array).result().mean()) for array in [arrays[1], *arrays]])
    print(pid == careful.submit(os.getpid).result())
"""


def test_a_process_without_descriptors_loses_no_value_and_no_executor() -> None:
    expected = str([1, *range(30)]).split()
    assert program(NO_DESCRIPTORS) == [*expected * 4, "True"]
