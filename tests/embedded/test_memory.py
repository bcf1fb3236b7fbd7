"""Memory that runs out: what is held is bounded by the memory that there is, and who goes beyond it is told."""

from __future__ import annotations

import contextlib
import itertools
import os
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


class Group:
    """A cgroup of 256 MB."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, program: str, *args: object) -> str:
        """Run a program in it, which must say nothing on stderr; return what it says."""
        enter = f'echo $$ >{self.folder}/cgroup.procs && exec "$@"'
        command = ["sh", "-c", enter, "sh", sys.executable, "-c", program, *map(str, args)]
        run = subprocess.run(command, capture_output=True, text=True, timeout=100)
        assert (run.returncode, run.stderr) == (0, "")
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
