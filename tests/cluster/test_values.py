"""Values of all sizes, by every way to ask for them, from one process to another: they are those of plain Python."""

from __future__ import annotations

import functools
import random
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import plait
import rig

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Bytes about which a value changes its way: to a lane, out of a message, to memory of its own, past the coordinator.
BORDERS = [0, 1, 16 << 10, 64 << 10, 128 << 10, 256 << 10, 1 << 20]


@pytest.fixture(autouse=True, params=["memory", "bytes"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How values go from process to process: within this machine, or as between two."""
    if request.param == "bytes":
        monkeypatch.setenv("PLAIT_SHARE_MEMORY", "0")
    return str(request.param)


def make(size: int, kind: str, pause: float) -> Any:
    """Make a value of about so many bytes, no two parts of it the same."""
    time.sleep(pause)
    made = np.random.default_rng(size).bytes(size)
    return {"bytes": made, "text": made.hex(), "array": np.frombuffer(made, np.uint8)}[kind]


def join(*values: Any) -> bytes:
    return b"".join(value.encode() if isinstance(value, str) else bytes(value) for value in values)


def same(given: Sequence[Any], plain: Sequence[Any]) -> bool:
    kinds = [type(one) for one in given] == [type(one) for one in plain]
    return kinds and all(join(one) == join(other) for one, other in zip(given, plain, strict=True))


class Draws:
    """Arguments for `make`."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def size(self, most: int) -> int:
        border = self.random.choice([border for border in BORDERS if border <= most])
        return max(0, border + self.random.choice([-100, 0, 100, self.random.randrange(border + 1)]))

    def works(self, count: int, most: int = BORDERS[-1]) -> list[tuple[int, str, float]]:
        kinds, pauses = ["bytes", "text", "array"], [0, 0, 0, 0.003]
        draw = self.random.choice
        return [(self.size(most), draw(kinds), draw(pauses)) for _ in range(count)]


@pytest.mark.parametrize("seed", range(3))
def test_whatever_its_size_and_way_a_value_is_that_of_plain_python(cluster: rig.Cluster, seed: int) -> None:
    draws = Draws(seed)
    cluster.worker(slots=1)
    cluster.worker(slots=1)
    with plait.Client(cluster.client_line) as client:
        rig.eventually(lambda: len(client.workers()) == 2, "two workers")
        kept = draws.works(150)
        futures = [client.submit(make, *work) for work in kept]
        for chunksize in (None, 1, draws.random.randrange(2, 20)):
            works = draws.works(draws.random.randrange(60))
            plain = [make(*work) for work in works]
            assert same(list(client.map(make, *zip(*works, strict=True), chunksize=chunksize) if works else []), plain)
            assert same(list(client.map(echo, plain, chunksize=chunksize)), plain), "and as arguments"
        works = draws.works(40, 256 << 10)
        plain = [make(*work) for work in works]
        assert same(client.run(make, *zip(*works, strict=True), combine=list), plain)
        assert client.run(make, *zip(*works, strict=True), reduce=join) == functools.reduce(join, plain)
        picks = [draws.random.sample(range(len(kept)), draws.random.randrange(1, 6)) for _ in range(40)]
        joined = [client.submit(join, *(futures[n] for n in pick)) for pick in picks]
        for pick, future in zip(picks, joined, strict=True):
            assert future.result() == join(*(make(*kept[n]) for n in pick))
        order = draws.random.sample(range(len(kept)), len(kept))
        assert same([futures[n].result() for n in order], [make(*kept[n]) for n in order])


def echo(value: Any) -> Any:
    return value
