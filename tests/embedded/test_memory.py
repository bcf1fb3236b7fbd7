"""Memory that runs out: what is held is bounded by the memory that there is, and who goes beyond it is told."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rig import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Where cgroups limit memory: version 1, then version 2.
LIMITS = {Path("/sys/fs/cgroup/memory"): "memory.limit_in_bytes", Path("/sys/fs/cgroup"): "memory.max"}
GROUP_BYTES = 256 << 20
_numbers = itertools.count()

#: For programs: what the descriptors of this process are. Threads of its own close some meanwhile.
LINKS = """
import contextlib, os

def links():
    for entry in os.scandir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            yield entry.path, os.readlink(entry)
"""


class Group:
    """A cgroup of 256 MB."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, program: str, *args: object, spill: Path | None = None, code: int = 0) -> str:
        """Run a program in it, which must say nothing on stderr; return what it says."""
        enter = f'echo $$ >{self.folder}/cgroup.procs && exec "$@"'
        command = ["sh", "-c", enter, "sh", sys.executable, "-c", program, *map(str, args)]
        environment = os.environ | ({"PLAIT_SPILL_DIR": str(spill)} if spill else {})
        run = subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment)
        assert (run.returncode, run.stderr) == (code, "")
        return run.stdout


@pytest.fixture
def group() -> Iterator[Group]:
    for root, limit in LIMITS.items():
        folder = root / f"plait-test-{os.getpid()}-{next(_numbers)}"
        try:
            folder.mkdir()
        except OSError as error:
            reason = f"no cgroup can be made: {error}"
            continue
        try:
            (folder / limit).write_text(str(GROUP_BYTES))
        except OSError as error:
            reason = f"no cgroup that limits memory can be made: {error}"
            folder.rmdir()
            continue
        break
    else:
        pytest.skip(reason)
    yield Group(folder)

    def removed() -> bool:
        with contextlib.suppress(OSError):
            folder.rmdir()
        return not folder.exists()

    eventually(removed, "nothing is left in the group")


TOO_LARGE = """
import numpy as np, plait
with plait.Client(slots=1) as client:
    def told(future):
        try:
            return future.result()
        except plait.ResultTooLarge as error:
            return error.size >> 20, error.limit >> 20
        except plait.SerializationError as error:
            return str(error)
    print(told(client.submit(np.ones, 66 << 20, np.uint8)))
    large = np.ones(66 << 20, np.uint8)
    print(told(client.put(large)))
    print(told(client.submit(np.sum, large)))
    del large
    print(client.submit(np.ones, 50 << 20, np.uint8).result().sum())
"""


def test_what_is_larger_than_all_that_may_be_held_is_told_with_both_sizes(group: Group) -> None:
    result, put, argument, others = group.run(TOO_LARGE).splitlines()
    assert result == put == "(66, 64)"
    assert argument.startswith("args[0] is too large to send")
    assert others == str(50 << 20)


KEPT = """
import numpy as np, plait
with plait.Client(slots=2) as client:
    kept, told = [], 0
    for n in range(60):
        kept.append(client.put(np.full(4 << 20, n, np.uint8)))
    for n, future in enumerate(kept):
        try:
            assert (future.result() == n).all()
        except plait.ResultTooLarge:
            told += 1
    print(told > 0, client.submit(sum, [1, 2]).result())
    del kept, future
    print([int(client.put(np.full(4 << 20, n, np.uint8)).result().max()) for n in range(20)])
"""


def test_a_client_that_puts_and_never_releases_is_told_and_goes_on(group: Group) -> None:
    assert group.run(KEPT).splitlines() == ["True 3", str(list(range(20)))]


MAPPED = """
import numpy as np, plait
with plait.Client(slots=2) as client:
    values = client.map(np.full, [4 << 20] * 200, range(200), [np.uint8] * 200)
    total = sum(int(value[-1]) for value in values)
    print(total, sum(range(200)))
"""


def test_a_stream_of_results_goes_on_in_little_memory(group: Group) -> None:
    total, expected = group.run(MAPPED).split()
    assert total == expected


SPILLED = """
import os, sys
import numpy as np, plait
with plait.Client(slots=2) as client:
    made = [client.submit(np.full, 4 << 20, n, np.uint8) for n in range(60)]
    sums = [client.submit(lambda *all: sum(int(one[-1]) for one in all), *made[n:n + 3]) for n in range(0, 60, 3)]
    print([one.result() for one in sums] == [3 * n + 3 for n in range(0, 60, 3)])
    print(all((made.pop(0).result() == n).all() for n in range(60)))
    print(sorted(os.listdir(os.environ["PLAIT_SPILL_DIR"])))
"""


def test_more_results_than_memory_holds_are_kept_on_disk(group: Group, tmp_path: Path) -> None:
    assert group.run(SPILLED, spill=tmp_path).splitlines() == ["True", "True", "[]"]


WAITED = """
import concurrent.futures
import numpy as np, plait
with plait.Client(slots=2) as client:
    made, called = [client.submit(np.full, 4 << 20, n, np.uint8) for n in range(120)], []
    for one in made:
        one.add_done_callback(lambda one: called.append(one.cancelled()))
    print(len(concurrent.futures.wait(made, 80).done), called == [False] * 120)
    print(all((made.pop(0).result() == n).all() for n in range(120)))
"""


def test_to_wait_for_more_than_memory_holds_loads_none_of_it(group: Group, tmp_path: Path) -> None:
    assert group.run(WAITED, spill=tmp_path).splitlines() == ["120 True", "True"]


SPOILED = (
    LINKS
    + """
import numpy as np, plait

def spoil():
    folder = os.environ["PLAIT_SPILL_DIR"]
    for path, link in links():
        if link.startswith(folder):
            with open(path, "r+b", 0) as file:
                for at in range(0, os.fstat(file.fileno()).st_size, 1 << 20):
                    os.pwrite(file.fileno(), b"spoiled", at)
            return True

def make(n):
    with open(os.environ["PLAIT_SPILL_DIR"] + "/log", "a") as log:
        log.write(f"{n}\\n")
    return np.full(4 << 20, n, np.uint8)

with plait.Client(slots=2) as client:
    made = [client.submit(make, n) for n in range(40)]
    print(client.submit(len, made[-1]).result() == 4 << 20, spoil())
    sums = [client.submit(np.sum, one) for one in made[:10]]
    print([int(one.result()) >> 22 for one in sums] == list(range(10)))
    print(all((one.result() == n).all() for n, one in enumerate(made)))
"""
)


def test_what_a_disk_has_spoiled_is_made_again_never_seen(group: Group, tmp_path: Path) -> None:
    assert group.run(SPOILED, spill=tmp_path).splitlines() == ["True True", "True", "True"]
    calls = (tmp_path / "log").read_text().split()
    assert len(calls) > 40
    assert len(set(calls)) == 40


OVER = """
import asyncio, threading
from concurrent.futures import as_completed, wait
import numpy as np, plait

with plait.Client(slots=2) as client:
    made = [client.submit(np.full, 4 << 20, n, np.uint8) for n in range(40)]
    while not all(one.done() for one in made):
        threading.Event().wait(0.01)
    print(any(one.cancelled() for one in made[:3]), made[3].exception(0), made[4].cancel())
    print(all(one.done() for one in made))
    told = threading.Event()
    made[5].add_done_callback(lambda one: told.set())
    print(told.wait(60), len(list(as_completed(made[6:20]))), len(wait(made[20:], 60).done))
    async def last():
        return int((await made[0])[-1]) + int((await made[7])[-1])
    print(asyncio.run(last()))
"""


def test_what_is_over_stays_over_while_it_is_on_disk(group: Group, tmp_path: Path) -> None:
    assert group.run(OVER, spill=tmp_path).splitlines() == ["False None False", "True", "True 14 20", "7"]


KILLED = """
import os, signal, sys
import numpy as np, plait
with plait.Client(slots=2) as client:
    made = [client.submit(np.full, 4 << 20, n, np.uint8) for n in range(40)]
    last = client.submit(lambda one: int(one[-1]), made[-1])
    print(last.result(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_program_that_is_killed_leaves_nothing_on_disk(group: Group, tmp_path: Path) -> None:
    assert group.run(KILLED, spill=tmp_path, code=-signal.SIGKILL) == "39\n"
    eventually(lambda: not list(tmp_path.iterdir()), "no file is left")


#: A random graph of calls over arrays of some megabytes, run by plait and by Python alone.
GRAPH = """
import random, sys
import numpy as np, plait

def make(seed, size):
    return np.random.default_rng(seed).integers(0, 255, size, np.uint8)

def merge(*parts):
    size = min(len(part) for part in parts)
    total = np.zeros(size, np.uint8)
    for part in parts:
        total = total * np.uint8(3) + part[:size]
    return {"array": total, "sum": int(total.sum())}

def array(value):
    return value["array"] if isinstance(value, dict) else value

def combine(*values):
    return merge(*map(array, values))

rng = random.Random(int(sys.argv[1]))
graph = [(make, [n, rng.randrange(1 << 20, 5 << 20)]) for n in range(30)]
for n in range(30):
    graph.append((combine, rng.sample(range(len(graph)), rng.randrange(1, 4))))

def run(call):
    values = []
    for function, arguments in graph:
        arguments = arguments if function is make else [values[n] for n in arguments]
        values.append(call(function, *arguments))
    return values

sums = []
plain = [hash(array(value).tobytes()) for value in run(lambda function, *arguments: function(*arguments))]
with plait.Client(slots=2) as client:
    futures = run(client.submit)
    order = rng.sample(range(len(futures)), len(futures))
    got = {}
    for n in order:
        got[n] = hash(array(futures[n].result()).tobytes())
        futures[n] = None
print([n for n in order if got[n] != plain[n]])
"""


@pytest.mark.parametrize("seed", range(3))
def test_values_that_were_on_disk_are_those_of_plain_python(group: Group, tmp_path: Path, seed: int) -> None:
    assert group.run(GRAPH, seed, spill=tmp_path) == "[]\n"


#: Values of all sizes, by every way to ask for them, while more are kept than memory holds.
MIXED = (
    LINKS
    + """
import functools, random, sys, time
import numpy as np, plait

rng = random.Random(int(sys.argv[1]))

def make(size, pause):
    time.sleep(pause)
    return np.random.default_rng(size).integers(0, 255, size, np.uint8)

def join(one, other):
    return np.concatenate([one, other])

def works(count, most):
    sizes = [rng.choice([0, 1, rng.randrange(most), rng.randrange(most), most]) for _ in range(count)]
    return sizes, [rng.choice([0, 0, 0.0005, 0.003]) for _ in range(count)]

def same(given, plain):
    return len(given) == len(plain) and all(map(np.array_equal, given, plain))

with plait.Client(slots=2) as client:
    kept = list(zip(*works(200, 1 << 20)))
    futures = [client.submit(make, *work) for work in kept]
    for chunksize in [None, 1, rng.randrange(2, 30)]:
        work = works(rng.randrange(40), 1 << 20)
        print(same(list(client.map(make, *work, chunksize=chunksize)), [make(*one) for one in zip(*work)]))
    work = works(rng.randrange(1, 60), 1 << 19)
    plain = [make(*one) for one in zip(*work)]
    print(same(client.run(make, *work, combine=list), plain))
    print(same([client.run(make, *work, reduce=join)], [functools.reduce(join, plain)]))
    pairs = [rng.sample(range(len(kept)), 2) for _ in range(30)]
    joined = [client.submit(join, futures[one], futures[other]) for one, other in pairs]
    for one, future in zip(pairs, joined):
        assert np.array_equal(future.result(), join(*(make(*kept[n]) for n in one)))
    for n in rng.sample(range(len(kept)), len(kept)):
        assert np.array_equal(futures[n].result(), make(*kept[n]))
    print(any(link.startswith(os.environ["PLAIT_SPILL_DIR"]) for _, link in links()))
"""
)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_its_size_and_way_a_value_is_that_of_plain_python(group: Group, tmp_path: Path, seed: int) -> None:
    assert group.run(MIXED, seed, spill=tmp_path).split() == ["True"] * 6


NO_SPACE = """
import os, sys
from concurrent.futures import wait
import numpy as np, plait

def fill():
    try:
        with open(os.path.join(os.environ["PLAIT_SPILL_DIR"], "full"), "wb", 0) as file:
            while file.write(bytes(1 << 16)):
                pass
    except OSError:
        pass

with plait.Client(slots=2) as client:
    client.submit(fill).result()
    made = [client.submit(np.full, 4 << 20, n, np.uint8) for n in range(60)]
    # What is taken makes room: only once all are there is it sure that there was none.
    wait(made)
    told = set()
    for n in range(60):
        try:
            assert (made.pop(0).result() == n).all()
        except plait.NoSpace as error:
            told.add((error.size >> 20, error.path, error.reason))
    print(*told, sep="\\n")
    print(client.submit(np.full, 4 << 20, 7, np.uint8).result().max())
"""


@pytest.mark.parametrize(
    ("name", "reason"),
    [("missing", "No such file or directory (os error 2)"), ("file", "Not a directory (os error 20)")],
)
def test_without_a_folder_for_it_a_result_that_finds_no_room_says_so(
    group: Group, tmp_path: Path, name: str, reason: str
) -> None:
    (tmp_path / "file").touch()
    told, after = group.run(NO_SPACE, spill=tmp_path / name).splitlines()
    assert told == str((4, str(tmp_path / name), reason))
    assert after == "7"


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """Mount a file system that lies in memory."""
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "plait-test", str(folder)], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_may_only_be_read_fails_what_finds_no_room(group: Group, tmp_path: Path) -> None:
    with mounted(tmp_path, "ro"):
        *told, after = group.run(NO_SPACE, spill=tmp_path).splitlines()
    assert set(told) == {str((4, str(tmp_path), "Read-only file system (os error 30)"))}
    assert after == "7"


def test_a_disk_that_fills_up_fails_what_finds_no_room_and_nothing_else(group: Group, tmp_path: Path) -> None:
    with mounted(tmp_path, "size=64m"):
        *told, after = group.run(NO_SPACE, spill=tmp_path).splitlines()
    assert after == "7"
    assert str((4, str(tmp_path), "No space left on device (os error 28)")) in told


WHERE = (
    LINKS
    + """
import numpy as np, plait
with plait.Client(slots=2) as client:
    made = [client.submit(np.full, 4 << 20, n, np.uint8) for n in range(40)]
    print(client.submit(len, made[-1]).result())
    deleted = [link for _, link in links() if link.startswith("/") and link.endswith(" (deleted)")]
    print(*{os.path.dirname(link) for link in deleted} - {"/"})
"""
)


def test_a_temporary_folder_that_is_memory_is_passed_over(
    group: Group, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PLAIT_SPILL_DIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert group.run(WHERE).splitlines() == [str(4 << 20), str(tmp_path)]
    with mounted(tmp_path, "size=64m"):
        assert group.run(WHERE).splitlines() == [str(4 << 20), "/var/tmp"]
