"""Chunks: how many items they have, and that each item keeps its own failure, retries and time."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from plait import _config, _executor
from plait._chunks import Sizer
from plait._errors import SerializationError
from plait._executor import RAISE, RETURN, SKIP, Chunk
from plait._serialize import (
    BRIEF,
    FIRST,
    TIMED,
    TUPLES,
    dump_items,
    dump_packed,
    dump_value,
    kind_of,
    load_error,
    load_items,
    load_parts,
    own_buffers,
    pack_item,
)


def sizes(sizer: Sizer, seconds: float, weight: float = 1.0, slots: int = 2, total: int = 1_000_000) -> list[int]:
    """Play a map whose chunks are over as soon as they are sent."""
    played: list[int] = []
    while sum(played) < total:
        played.append(min(sizer.size(slots), total - sum(played)))
        sizer.sent(played[-1])
        sizer.learn(played[-1], seconds * played[-1], int(weight * played[-1]))
    return played


def test_chunks_grow_from_one_item_to_milliseconds_and_shrink_towards_the_end():
    played = sizes(Sizer(1_000_000), 1e-6)
    assert played[0] == 1
    assert all(after <= _config.CHUNK_GROWTH * max(before, 1) for before, after in pairwise(played))
    assert max(played) == pytest.approx(_config.CHUNK_SECONDS / 1e-6, rel=0.01)
    assert played[-1] <= _config.CHUNK_LEAST_SECONDS / 1e-6 + 1
    assert len(played) < 300


def test_long_or_heavy_items_go_alone():
    assert set(sizes(Sizer(None), 1.0, total=50)) == {1}
    assert max(sizes(Sizer(None), 1e-6, weight=_config.CHUNK_BYTES / 4, total=50)) == 4


def test_what_costs_more_counts_at_once():
    sizer = Sizer(None)
    sizer.learn(1_000, 1e-3, 1_000)
    assert sizer.size(2) > 1_000
    sizer.learn(10, 1.0, 10)
    assert sizer.size(2) == 1


class Clock:
    """Time that passes as it is told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def read(sizer: Sizer, clock: Clock, seconds: float, times: int = 1) -> list[int]:
    """Read chunks from a source that takes so long for an item; a trivial function has them at once."""
    played = []
    for _ in range(times):
        played.append(sizer.size(2))
        clock.now += seconds * played[-1]
        sizer.sent(played[-1])
        sizer.learn(played[-1], 1e-7 * played[-1], played[-1])
    return played


@pytest.mark.parametrize(("seconds", "largest"), [(60.0, 1), (0.01, 1), (0.0015, 6), (1e-7, _config.CHUNK_ITEMS)])
def test_chunks_of_a_slow_source_stay_small(seconds, largest):
    clock = Clock()
    assert max(read(Sizer(None, clock), clock, seconds, 50)) == largest


def test_chunks_follow_a_source_that_changes_its_pace():
    clock = Clock()
    sizer = Sizer(None, clock)
    assert max(read(sizer, clock, 0.0, 10)) == _config.CHUNK_ITEMS
    read(sizer, clock, 0.01)
    assert read(sizer, clock, 0.01) == [1], "what takes longer counts at once"
    assert read(sizer, clock, 0.0, 20)[-1] == _config.CHUNK_ITEMS, "and is forgotten"


def test_only_what_passes_while_items_are_read_counts_as_reading():
    clock = Clock()
    sizer = Sizer(None, clock)
    for _ in range(10):
        read(sizer, clock, 0.0)
        clock.now += 60.0  # whoever wants the results is slow
        sizer.sent(1)  # read at some other time
    assert sizer.size(2) == _config.CHUNK_ITEMS


class Claims:
    """Items of which the rest may be cut off, as the shared page does it."""

    def __init__(self, items: Any, end: int | None = None) -> None:
        self._items = list(items)
        self.end = len(self._items) if end is None else end
        self.taken = 0
        self.is_brief = False
        self.is_forked = False

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if not self.left:
            raise StopIteration
        self.taken += 1
        return self._items[self.taken - 1]

    @property
    def left(self) -> bool:
        return self.taken < self.end

    def end_after(self, _seconds: float) -> None:
        self.is_brief = True

    def settle(self) -> None:
        self.end = 0


def chunk(fn: Any, items: Any, kind: int = 0, errors: int = RETURN, retries: int = 0) -> tuple[Any, ...]:
    """Run and read a chunk; failures as exceptions."""
    ((first, values, failures, seconds),) = load_parts(
        Chunk(fn, Exception, kind, items, items, Claims(items), errors, retries).dump()
    )
    assert first == 0
    return values, {index: load_error([failure]) for index, failure in failures.items()}, seconds


def test_each_item_keeps_its_own_failure():
    values, failures, seconds = chunk(lambda x: 10 // x, [1, 0, 2, 0, 5])
    assert values == [10, None, 5, None, 2] and sorted(failures) == [1, 3] and seconds is None
    assert all(isinstance(error, ZeroDivisionError) for error in failures.values())


def test_tuples_are_arguments_and_times_are_taken():
    values, failures, seconds = chunk(divmod, [(7, 2), (1, 0), (9, 4)], TUPLES | TIMED)
    assert values == [(3, 1), None, (2, 1)] and list(failures) == [1] and len(seconds) == 3


def test_a_chunk_ends_with_the_first_failure_if_that_is_all_that_counts():
    called = []

    def fn(x: int) -> int:
        called.append(x)
        return 1 // x

    values, failures, _ = chunk(fn, [1, 0, 2], FIRST)
    assert values == [1, None] and list(failures) == [1] and called == [1, 0]


def test_items_that_are_skipped_leave_no_gap():
    assert chunk(lambda x: 10 // x, range(-1, 3), errors=SKIP)[0] == [-10, 10, 5]


def test_a_chunk_that_raises_raises_the_first():
    with pytest.raises(_executor._NoRetry) as caught:
        Chunk(lambda x: 1 // x, Exception, 0, [1, 0, 0], [1, 0, 0], Claims([1, 0, 0]), RAISE, 0)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_function_that_raises_stop_iteration_fails_and_ends_nothing():
    def fn(x: int) -> int:
        if x in (0, 2, 5):
            raise StopIteration
        return x

    values, failures, _ = chunk(fn, range(6))
    assert values == [None, 1, None, 3, 4, None] and sorted(failures) == [0, 2, 5]
    assert all(isinstance(error, StopIteration) for error in failures.values())


def test_coroutines_are_awaited_wherever_they_come_from():
    async def later(x: int) -> int:
        await asyncio.sleep(0)
        return 10 // x

    values, failures, _ = chunk(later, [5, 0, 1])
    assert values == [2, None, 10] and list(failures) == [1]
    values, failures, _ = chunk(lambda x: later(x) if x < 2 else x, [5, 0, 1])
    assert values == [5, None, 10] and list(failures) == [1]


def test_a_value_that_cannot_be_pickled_fails_alone():
    values, failures, _ = chunk(lambda x: threading.Lock() if x == 1 else x, range(3))
    assert values == [0, None, 2] and list(failures) == [1]
    assert isinstance(failures[1], SerializationError)
    assert chunk(lambda x: threading.Lock() if x == 1 else x, range(3), errors=SKIP)[0] == [0, 2]


@pytest.mark.parametrize("kind", [0, BRIEF, BRIEF | TIMED])
def test_a_chunk_whose_end_is_cut_off_ends_there(kind):
    items = [*range(5), 0, *range(10)]
    claims = Claims(items[3:])

    def fn(x: int) -> float:
        if x == 4:
            claims.end = 6  # while this one runs
        return 1 / x

    told = Chunk(fn, Exception, kind, items, items, claims, RETURN, 0, 3)
    ((first, values, failures, seconds),) = load_parts(told.dump())
    assert (first, values) == (3, [1 / 3, 1 / 4, None, None, 1.0, 0.5])
    assert sorted(failures) == [2, 3] and (seconds is None or len(seconds) == 6)
    assert not claims.left, "what is pickled is the fault of no item"


def together(items: list[Any]) -> list[Any]:
    """Pickle items as a chunk."""
    return dump_items(0, items)[0]


def apart(items: list[Any]) -> list[Any]:
    """Pickle items as a chunk, each by itself."""
    return dump_packed(0, [pack_item(0, item)[0] for item in items])


@pytest.mark.parametrize("dump", [together, apart])
@pytest.mark.parametrize("build", [list, lambda numbers: [np.array(numbers)], lambda numbers: {0: numbers}])
def test_a_try_does_not_see_what_an_earlier_one_has_changed(dump, build):
    def fn(item: Any) -> None:
        held = item if type(item[0]) is int else item[0]
        seen.append(int(held[0]))
        held[0] += 1
        raise ValueError

    segments = [bytearray(segment) for segment in dump([build([0]), build([10])])]  # what arrives can be written to
    items = load_items(own_buffers(segments))
    seen: list[int] = []
    again = _executor.Again(segments, items, [])
    Chunk(fn, Exception, kind_of(segments), items, again, Claims(items), RETURN, 2)
    assert seen == [0, 0, 0, 10, 10, 10]


def test_parts_follow_one_another_whatever_buffers_they_have():
    parts: list[Any] = [
        (0, [1], {}, None),
        (1, [np.arange(3), np.arange(4)], {}, [0.5, 0.5]),
        (3, [], {}, None),
        (4, [np.ones(2)], {}, None),
    ]
    told = load_parts([segment for part in parts for segment in dump_value(part)])
    assert [(first, len(values), seconds) for first, values, _, seconds in told] == [
        (0, 1, None),
        (1, 2, [0.5, 0.5]),
        (3, 0, None),
        (4, 1, None),
    ]
    assert told[1][1][1].tolist() == [0, 1, 2, 3] and told[3][1][0].tolist() == [1, 1]


@pytest.mark.parametrize("kind", [0, TIMED, BRIEF, BRIEF | TIMED])
def test_a_chunk_has_a_time_to_end_if_the_rest_may_be_given_back(kind):
    claims = Claims(range(5))
    begun = []
    Chunk(lambda _: begun.append(claims.is_brief), Exception, kind, range(5), range(5), claims, RETURN, 0)
    assert begun == [False, *4 * [bool(kind & BRIEF)]], "the first one is always begun"


@pytest.mark.parametrize("seed", range(30))
def test_a_chunk_does_what_a_loop_does(seed):
    draw = random.Random(seed)
    plan = [draw.choice([0, 0, 0, 1, 2, 9]) for _ in range(draw.randrange(1, 60))]
    retries, errors = draw.randrange(3), draw.choice([RETURN, SKIP])
    left = list(plan)

    def fn(index: int) -> int:
        if left[index]:
            left[index] -= 1
            raise draw.choice([ValueError, KeyError, StopIteration])(index)
        return index

    values, failures, _ = chunk(fn, range(len(plan)), errors=errors, retries=retries)
    good = [index for index, fails in enumerate(plan) if fails <= retries]
    if errors == SKIP:
        assert values == good
    else:
        assert [index for index, value in enumerate(values) if value is not None] == good
        assert sorted(failures) == [index for index in range(len(plan)) if index not in good]
