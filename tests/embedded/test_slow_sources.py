"""A source that takes its time is read a little ahead of what is given, by `map` and by `run`."""

from __future__ import annotations

import itertools
import operator
import time

import pytest

import plait
from embedded import tasks
from plait import _config
from plait._chunks import Sizer
from rig import eventually


def slowly(read: list[int]):
    """Give numbers, each of which takes its time, and note those that were read."""
    for n in itertools.count():
        time.sleep(0.01)  # this is what is slow, nobody waits for anything
        read.append(n)
        yield n


def test_a_slow_source_is_read_a_few_items_ahead_of_what_is_given(client):
    read: list[int] = []
    # Before the first result, as much is read as comes until executors are there.
    list(client.map(tasks.same, range(8)))

    results = client.map(tasks.same, slowly(read))
    ahead = [len(read) - n for n in itertools.islice(results, 60)]
    results.close()
    assert max(ahead) <= 4 * 2 + 1


@pytest.mark.parametrize("options", [{}, {"chunksize": 1}, {"buffersize": 20}])
@pytest.mark.parametrize("ordered", [True, False])
def test_what_is_over_does_not_wait_for_a_slow_source(client, monkeypatch, ordered, options):
    """The source gives an item once all before it are over; these do not wait until a window is read."""
    monkeypatch.setattr(_config, "CHUNK_READ_SECONDS", 0.0)
    monkeypatch.setattr(Sizer, "reading", 60.0)
    read: list[int] = []
    mapped: list[plait.Results[int]] = []

    def are_over():
        return all(sent.is_over() for results in mapped for sent in results._sent)

    def items():
        for n in itertools.count():
            eventually(are_over, "those before it are over")
            read.append(n)
            yield n

    mapped.append(client.options(ordered=ordered).map(tasks.same, items(), **options))
    for given, _ in enumerate(itertools.islice(mapped[0], 60), 1):
        assert given <= 30 or len(read) - given <= 2
    mapped[0].close()


def test_a_window_is_full_where_a_slow_source_is_quicker_than_the_slots(client, monkeypatch):
    monkeypatch.setattr(_config, "CHUNK_READ_SECONDS", 0.0)
    monkeypatch.setattr(Sizer, "reading", 60.0)
    monkeypatch.setattr(Sizer, "seconds", 200.0)
    read: list[int] = []

    def items():
        for n in itertools.count():
            read.append(n)
            yield n

    results = client.options(ordered=False).map(tasks.same, items())
    ahead = [len(read) - given for given, _ in enumerate(itertools.islice(results, 30), 1)]
    results.close()
    assert set(ahead) == {4 * 2}


@pytest.mark.parametrize("finish", [{}, {"reduce": operator.add}, {"combine": sum}])
def test_a_run_over_a_slow_source_ends_soon_after_its_first_error(client, finish):
    read: list[int] = []

    with pytest.raises(ValueError):
        client.run(tasks.fail_on, itertools.repeat(20), slowly(read), **finish)
    assert len(read) <= 20 + _config.PIECES_PER_SLOT * 2 + 1
