"""`map` is an iterator with a window; `run` brings results together, in order."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import itertools
import operator
import os
import random
import signal
import sys
import threading
import weakref

import numpy as np
import pytest

import plait
from embedded import tasks
from plait._chunks import Sizer
from rig import eventually


def test_results_come_in_order(client):
    assert list(client.map(tasks.same, range(500))) == list(range(500))


def test_several_iterables_end_with_the_shortest(client):
    assert list(client.map(pow, [2, 3, 4], [1, 2])) == [2, 9]
    assert list(client.map(tasks.same, [])) == []


@pytest.mark.parametrize("chunksize", [1, 3, 7, 1_000])
def test_chunks_change_nothing(client, chunksize):
    assert list(client.map(tasks.same, range(100), chunksize=chunksize)) == list(range(100))


def test_endless_input_is_read_through_a_window(client):
    read: list[int] = []

    def items():
        for n in itertools.count():
            read.append(n)
            yield n

    results = client.map(tasks.same, items(), chunksize=1)
    assert list(itertools.islice(results, 50)) == list(range(50))
    results.close()
    assert len(read) <= 50 + 4 * 2


def test_a_window_of_chunks_that_size_themselves_is_bounded_too(client):
    read: list[int] = []

    def items():
        for n in itertools.count():
            read.append(n)
            yield n

    results = client.map(tasks.same, items())
    assert len(read) == 4 * 2, "the first chunks are single items"
    for n in range(5_000):
        assert next(results) == n
        assert len(read) - n <= (4 * 2 + 2) * 2**17
    results.close()
    assert len(read) > 5_000 + 4 * 2, "chunks have grown"


def test_an_item_that_takes_long_holds_up_no_executor(client, tmp_path):
    """The first item waits for one that lies far beyond the window; those between it and that one come in order."""
    mark = str(tmp_path / "mark")

    def first_waits_for_later(n):
        if n == 400:
            open(mark, "w").close()
        return tasks.until(mark, n) if n == 0 else n

    assert list(client.map(first_waits_for_later, range(1_000))) == list(range(1_000))


def test_a_map_that_is_held_up_reads_no_more_than_its_bound(client, tmp_path):
    gate = str(tmp_path / "gate")
    read: list[int] = []

    def items():
        for n in itertools.count():
            read.append(n)
            yield n

    def first_waits(n):
        return tasks.until(gate, n) if n == 0 else n

    results = client.map(first_waits, items())
    waiting = threading.Thread(target=results.__next__)
    waiting.start()
    eventually(lambda: len(read) >= 512 * 2, "it is read ahead")
    open(gate, "w").close()
    waiting.join(60)
    assert not waiting.is_alive()
    results.close()
    assert len(read) <= 512 * 2 + 4 * 2, "and no further"


def test_the_first_window_starts_at_the_call(client, tmp_path):
    marks = [str(tmp_path / f"m{n}") for n in range(2)]
    results = client.map(tasks.touch_then_wait, marks, [str(tmp_path / "gate")] * 2)
    eventually(lambda: all((tmp_path / f"m{n}").exists() for n in range(2)), "both began before next()")
    (tmp_path / "gate").touch()
    assert list(results) == [None, None]


def test_a_buffersize_is_obeyed(client):
    read = []

    def items():
        for n in range(100):
            read.append(n)
            yield n

    results = client.map(tasks.same, items(), buffersize=5)
    assert len(read) == 5
    assert next(results) == 0
    assert len(read) == 6
    assert list(results) == list(range(1, 100))


@pytest.mark.parametrize("arguments", [{"chunksize": 0}, {"chunksize": -1}, {"buffersize": 0}])
def test_sizes_below_one_are_refused_at_once(client, arguments):
    with pytest.raises(ValueError, match="at least 1"):
        client.map(tasks.same, [1], **arguments)


def test_an_input_that_is_no_iterable_is_refused_at_once(client):
    with pytest.raises(TypeError):
        client.map(tasks.same, 3)


@pytest.mark.parametrize("chunksize", [None, 4])
def test_an_error_comes_after_the_results_before_it(client, chunksize):
    results = client.map(tasks.fail_on, itertools.repeat(10), itertools.count(), chunksize=chunksize)
    assert [next(results) for _ in range(10)] == list(range(10))
    with pytest.raises(ValueError, match="10"):
        next(results)
    assert list(results) == []


@pytest.mark.parametrize("chunksize", [None, 4])
def test_errors_can_be_skipped(client, chunksize):
    results = client.options(errors="skip").map(tasks.fail_on, itertools.repeat(3), range(6), chunksize=chunksize)
    assert list(results) == [0, 1, 2, 4, 5]


@pytest.mark.parametrize("chunksize", [None, 4])
def test_errors_can_be_returned(client, chunksize):
    view = client.options(errors="return")
    outcomes = list(view.map(tasks.fail_on, itertools.repeat(3), range(6), chunksize=chunksize))
    assert [outcome.item for outcome in outcomes] == [(3, n) for n in range(6)]
    assert [outcome.value for outcome in outcomes] == [0, 1, 2, None, 4, 5]
    assert [outcome.ok for outcome in outcomes] == [True] * 3 + [False] + [True] * 2
    assert isinstance(outcomes[3].error, ValueError)
    assert all(outcome.worker and outcome.seconds >= 0 for outcome in outcomes)


@pytest.mark.parametrize("chunksize", [None, 3])
def test_an_unpicklable_item_fails_alone(client, chunksize):
    lock = threading.Lock()
    outcomes = list(client.options(errors="return").map(tasks.same, [1, lock, 3], chunksize=chunksize))
    assert [outcome.value for outcome in outcomes] == [1, None, 3]
    assert isinstance(outcomes[1].error, plait.SerializationError)


def test_an_idle_executor_takes_the_end_of_a_chunk(client, tmp_path):
    gate = tmp_path / "gate"

    def work(n):
        if n == 3:
            gate.touch()
        return tasks.until(str(gate), n) if n == 0 else n

    assert list(client.map(work, range(4), chunksize=4)) == [0, 1, 2, 3]


def test_a_chunk_gives_back_what_it_has_not_begun_when_its_time_is_up(tmp_path):
    """Behind many free items lies one that takes long, and behind that some that wait for its result to be taken."""
    free, gate = 20_000, tmp_path / "gate"

    def work(n):
        if n == free:
            return tasks.pause(0.2, n)
        return tasks.until(str(gate), n) if n > free else n

    with plait.Client(slots=1) as client:
        results = client.map(work, iter(range(free + 5)))
        assert list(itertools.islice(results, free + 1)) == list(range(free + 1))
        gate.touch()
        assert list(results) == list(range(free + 1, free + 5))


def test_an_item_of_a_chunk_kills_as_many_executors_as_it_may(client, tmp_path):
    calls = tmp_path / "calls"

    def work(n):
        if n == 5:
            with calls.open("a") as file:
                file.write("x")
            tasks.leave(3)
        return n

    before = client.submit(tasks.same, 1)._seq
    view = client.options(errors="return", crash_limit=2)
    outcomes = list(view.map(work, range(9), chunksize=9))
    assert [outcome.value for outcome in outcomes] == [0, 1, 2, 3, 4, None, 6, 7, 8]
    error = outcomes[5].error
    assert isinstance(error, plait.TaskCrashed) and len(error.attempts) == 2 and error.__cause__ is None
    assert calls.read_text() == "xx"
    assert client.submit(tasks.same, 1)._seq - before == 2, "nothing was sent again"


@pytest.mark.parametrize("errors", ["raise", "skip"])
def test_an_item_that_crashed_is_an_error_as_any_other(client, errors):
    def work(n):
        return tasks.leave(3) if n == 2 else n

    results = client.options(errors=errors, crash_limit=1).map(work, range(5), chunksize=5)
    if errors == "skip":
        assert list(results) == [0, 1, 3, 4]
        return
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(plait.TaskCrashed):
        next(results)


def test_a_value_that_kills_its_executor_as_it_is_pickled_fails_alone(client):
    class Poison:
        def __reduce__(self):
            return tasks.leave(3)

    def work(n):
        return Poison() if n == 4 else n

    view = client.options(errors="return", crash_limit=1)
    outcomes = list(view.map(work, range(10), chunksize=10))
    assert [outcome.value for outcome in outcomes] == [0, 1, 2, 3, None, 5, 6, 7, 8, 9]
    assert isinstance(outcomes[4].error, plait.TaskCrashed)


def test_each_item_of_a_chunk_that_crashes_says_so(client):
    view = client.options(errors="return", crash_limit=1)
    outcomes = list(view.map(tasks.leave, [1, 2], chunksize=2))
    assert all(isinstance(outcome.error, plait.TaskCrashed) for outcome in outcomes)


def test_items_of_a_chunk_are_retried_each(client, tmp_path):
    paths = [str(tmp_path / f"c{n}") for n in range(4)]
    results = client.options(retries=1).map(tasks.count_calls, paths, [1] * 4, chunksize=4)
    assert list(results) == [2] * 4


#: How a process that a function forked may come out of it.
WAYS_OUT = {"return": lambda n: n, "exit": sys.exit, "raise": tasks.fail}


def fork_on(bad, log, way, n):
    """Fork for one value, and double any; each call leaves a line in `log`."""
    with open(log, "a") as lines:
        lines.write(f"{n}\n")
    if n == bad:
        child = os.fork()
        if child == 0:
            return WAYS_OUT[way](n)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == (way != "return")
    return 2 * n


@pytest.mark.parametrize("way", WAYS_OUT)
@pytest.mark.parametrize("errors", ["raise", "return", "skip"])
@pytest.mark.parametrize("forks", [0, 3])
def test_a_process_that_an_item_forks_does_nothing_of_its_chunk(client, tmp_path, way, errors, forks):
    log = tmp_path / "log"
    some = client.options(errors=errors, retries=2)
    results = some.map(functools.partial(fork_on, forks, str(log), way), range(10), chunksize=10)
    assert [one.value if errors == "return" else one for one in results] == list(range(0, 20, 2))
    assert sorted(log.read_text().split()) == [str(n) for n in range(10)]


@pytest.mark.parametrize("way", WAYS_OUT)
def test_a_process_that_an_item_forks_merges_nothing(client, monkeypatch, tmp_path, way):
    monkeypatch.setattr(Sizer, "size", lambda _self, _slots: 10)
    log, merged = tmp_path / "log", str(tmp_path / "merged")

    def merge(a, b):
        with open(merged, "a") as lines:
            lines.write("once\n")
        return a + b

    work = functools.partial(fork_on, 3, str(log), way)
    assert client.options(retries=2).run(work, range(10), reduce=merge) == 90
    assert sorted(log.read_text().split()) == [str(n) for n in range(10)]
    assert (tmp_path / "merged").read_text().count("once") == 9


def test_a_try_does_not_see_what_an_earlier_one_has_changed(client):
    def spoil(item):
        item[0] += 1
        raise ValueError(int(item[0]))

    again = client.options(retries=2)
    items = [[0], np.zeros(10), np.zeros(100_000), client.submit(tasks.same, [0])]
    outcomes = list(again.options(errors="return").map(spoil, items, chunksize=4))
    assert [outcome.error.args for outcome in outcomes] == [(1,)] * 4
    for item in items:
        assert again.submit(spoil, item).exception(60).args == (1,)
        with pytest.raises(ValueError) as caught:
            again.run(spoil, [item] * 3)
        assert caught.value.args == (1,)
    outcomes = again.options(errors="return").run(spoil, items, combine=list)
    assert [outcome.error.args for outcome in outcomes] == [(1,)] * 4


def test_unordered_results_come_as_they_finish(client, tmp_path):
    gate = tmp_path / "gate"

    def work(n):
        return tasks.until(str(gate), n) if n == 0 else n

    results = client.options(ordered=False).map(work, range(6))
    first = [next(results) for _ in range(5)]
    assert sorted(first) == [1, 2, 3, 4, 5]
    gate.touch()
    assert list(results) == [0]


def test_an_iterable_that_raises_in_the_middle(client):
    def items():
        yield from range(5)
        raise LookupError("broken input")

    results = client.map(tasks.same, items())
    assert [next(results) for _ in range(5)] == list(range(5))
    with pytest.raises(LookupError, match="broken input"):
        next(results)
    assert list(results) == []
    assert client._core.session.wait_idle(60)


def test_leaving_the_loop_cancels_the_rest(client, tmp_path):
    for value in client.map(tasks.until, itertools.chain([str(tmp_path)], itertools.repeat(str(tmp_path / "never")))):
        assert value is None
        break
    assert client._core.session.wait_idle(60), "what waited for ever was stopped"


def test_a_timeout_counts_from_the_call(client, tmp_path):
    results = client.map(tasks.until, [str(tmp_path / "never")], timeout=0.1)
    with pytest.raises(TimeoutError):
        next(results)
    assert client._core.session.wait_idle(60), "the rest was cancelled"


def test_futures_are_items(client):
    assert list(client.map(tasks.same, [client.submit(pow, 2, n) for n in range(5)])) == [1, 2, 4, 8, 16]
    futures = [client.submit(pow, 2, n) for n in range(5)]
    assert list(client.map(tasks.same, futures, chunksize=2)) == [1, 2, 4, 8, 16]


def test_close_is_the_end(client):
    results = client.map(tasks.same, itertools.count())
    next(results)
    results.close()
    assert list(results) == []


def test_a_fold_is_exact_and_in_order(client):
    assert client.run(str, range(10_000), reduce=operator.add) == "".join(map(str, range(10_000)))


def test_initial_is_folded_once_and_leftmost(client):
    assert client.run(str, range(100), reduce=operator.add, initial=">") == ">" + "".join(map(str, range(100)))
    assert client.run(str, [], reduce=operator.add, initial=">") == ">"
    assert client.run(str, [1], reduce=operator.add) == "1"
    with pytest.raises(TypeError, match="no initial value"):
        client.run(str, [], reduce=operator.add)


def test_combine_sees_all_results_once_in_order_in_an_executor(client):
    def look(results):
        import os

        return os.getpid(), type(results), results

    pid, kind, results = client.run(tasks.same, range(1_000), combine=look)
    import os

    assert pid != os.getpid() and kind is list and results == list(range(1_000))
    assert client.run(tasks.same, [], combine=list) == []


def test_a_run_without_either_is_the_list(client):
    assert client.run(tasks.same, range(1_000)) == list(range(1_000))
    assert client.run(pow, [2, 3], [3, 2]) == [8, 9]


@pytest.mark.parametrize("finish", [{}, {"combine": list}, {"reduce": operator.add}], ids=str)
def test_an_error_ends_a_run_and_cancels_the_rest(client, finish, tmp_path):
    def work(n):
        if n == 3:
            raise ValueError(n)
        return tasks.until(str(tmp_path / "never")) if n > 3 else n

    with pytest.raises(ValueError, match="3"):
        client.run(work, range(50), **finish)
    assert client._core.session.wait_idle(60), "the rest was cancelled"


def test_results_that_an_interrupt_kept_from_being_made_go_silently():
    plait.Results.__new__(plait.Results).__del__()


def test_an_endless_run_ends_with_its_first_error(client):
    for finish in ({}, {"combine": list}, {"reduce": operator.add}):
        with pytest.raises(ValueError, match="5"):
            client.run(tasks.fail_on, itertools.repeat(5), itertools.count(), **finish)


def test_a_failing_merge_or_combine_is_raised(client):
    for finish in ({"combine": tasks.fail}, {"reduce": pow}):
        with pytest.raises((ValueError, TypeError)):
            client.run(str, range(10), **finish)


def test_errors_of_pieces_can_be_skipped_or_returned(client):
    skip, back = client.options(errors="skip"), client.options(errors="return")
    items = itertools.repeat(3), range(6)
    assert skip.run(tasks.fail_on, *items) == [0, 1, 2, 4, 5]
    assert skip.run(tasks.fail_on, *items, combine=list) == [0, 1, 2, 4, 5]
    assert skip.run(tasks.fail_on, *items, reduce=operator.add) == 12
    assert [o.value for o in back.run(tasks.fail_on, *items)] == [0, 1, 2, None, 4, 5]
    outcomes = back.run(tasks.fail_on, *items, combine=list)
    assert [o.value for o in outcomes] == [0, 1, 2, None, 4, 5]
    assert [o.item for o in outcomes] == [(3, n) for n in range(6)]
    assert isinstance(outcomes[3].error, ValueError) and outcomes[3].worker


def test_nothing_left_to_reduce_is_like_nothing_at_all(client):
    skip = client.options(errors="skip")
    assert skip.run(tasks.fail, range(3), reduce=operator.add, initial=7) == 7
    with pytest.raises(TypeError, match="no initial value"):
        skip.run(tasks.fail, range(3), reduce=operator.add)


def test_contradictions_are_refused(client):
    with pytest.raises(ValueError, match="one of them"):
        client.run(str, [1], combine=list, reduce=operator.add)
    with pytest.raises(ValueError, match="cannot be reduced"):
        client.options(errors="return").run(str, [1], reduce=operator.add)
    with pytest.raises(ValueError, match="initial goes with reduce"):
        client.run(str, [1], initial=1)


def test_an_input_of_a_run_that_raises(client):
    def items():
        yield from range(5)
        raise LookupError("broken input")

    for finish in ({}, {"combine": list}, {"reduce": operator.add}):
        with pytest.raises(LookupError, match="broken input"):
            client.run(tasks.same, items(), **finish)
        assert client._core.session.wait_idle(60)


def test_an_unpicklable_piece_is_an_error_of_the_run(client):
    lock = threading.Lock()
    for finish in ({}, {"combine": list}, {"reduce": operator.add}):
        with pytest.raises(plait.SerializationError):
            client.run(tasks.same, [1, lock], **finish)
        assert client.options(errors="skip").run(tasks.same, [[1], lock], **finish) in ([[1]], [1])


@pytest.mark.parametrize("finish", [{}, {"combine": len}, {"reduce": operator.add}], ids=str)
def test_progress_is_told_in_the_callers_thread(client, finish):
    told, threads = [], set()

    def note(done, total):
        told.append((done, total))
        threads.add(threading.current_thread())

    client.run(tasks.pause, [0.01] * 50, [1] * 50, progress=note, **finish)
    assert threads == {threading.current_thread()}
    assert told[-1] == (50, 50) and told == sorted(told)


def test_exactness_survives_killed_executors(client, tmp_path):
    def work(n):
        mark = tmp_path / f"died{n}"
        if n % 400 == 7 and not mark.exists():
            mark.touch()
            tasks.kill_self()
        return str(n)

    assert client.run(work, range(2_000), reduce=operator.add) == "".join(map(str, range(2_000)))


@pytest.mark.parametrize("chunksize", [None, 1, 3, 100])
def test_results_before_an_error_of_the_input_are_delivered(client, chunksize):
    def items():
        yield from range(5)
        raise LookupError("broken input")

    results, taken = client.map(tasks.same, items(), chunksize=chunksize), []
    with pytest.raises(LookupError, match="broken input"):
        taken.extend(results)
    assert taken == list(range(5))


def test_after_shutdown_a_map_delivers_what_was_sent():
    with plait.Client(slots=1) as client:
        results = client.map(tasks.same, range(20), buffersize=8)
    taken: list[int] = []
    with pytest.raises(RuntimeError, match="after shutdown"):
        taken.extend(results)
    assert taken == list(range(8))


def test_an_async_function_serves_in_every_kind_of_run(client):
    assert client.run(tasks.later, range(5)) == list(range(5))
    assert client.run(tasks.later, range(5), reduce=operator.add) == 10
    outcomes = client.options(errors="return").run(tasks.later, range(5), combine=list)
    assert [outcome.value for outcome in outcomes] == list(range(5))


def test_threads_may_share_the_results(client):
    results, taken = client.map(tasks.same, range(1_000)), []
    threads = [threading.Thread(target=lambda: taken.extend(results)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(1_000))


@pytest.mark.parametrize("chunksize", [None, 3])
@pytest.mark.parametrize("ordered", [True, False])
def test_an_item_that_raises_stop_iteration_does_not_end_the_map_unseen(client, chunksize, ordered):
    results = client.options(ordered=ordered).map(tasks.first_of, [[1], [2], [], [4]], chunksize=chunksize)
    with pytest.raises(RuntimeError, match="map of first_of raised StopIteration") as caught:
        list(results)
    assert isinstance(caught.value.__cause__, StopIteration)
    with pytest.raises(RuntimeError, match="raised StopIteration"):
        client.run(tasks.first_of, [[1], [2], [], [4]])


@pytest.mark.parametrize("ordered", [True, False])
def test_another_thread_may_close_the_results_that_one_waits_for(client, tmp_path, ordered):
    results = client.options(ordered=ordered).map(tasks.until, [str(tmp_path / "never")] * 4, buffersize=4)
    taken: list[object] = []
    waiting = threading.Thread(target=lambda: taken.extend(results), daemon=True)
    waiting.start()
    eventually(lambda: sum(worker.running for worker in client.workers()) == 2, "both slots are busy")
    results.close()
    waiting.join(60)
    assert not waiting.is_alive() and not taken


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("good", [3, 20])
def test_an_interrupted_read_of_the_input_cancels_the_map(client, stop, good):
    def item(n):
        if n == good:
            raise stop
        return n

    taken: list[int] = []
    results = iter(taken)

    def take():
        nonlocal results
        results = client.map(tasks.same, map(item, itertools.count()), buffersize=8)
        taken.extend(results)

    with pytest.raises(stop) as caught:
        take()
    assert taken == list(range(len(taken))) and list(results) == []
    note = f"plait: cancelled a map of same; {len(taken)} results had been taken"
    assert getattr(caught.value, "__notes__", []) == ([note] if stop is KeyboardInterrupt else [])


@pytest.mark.parametrize("finish", [{}, {"combine": len}, {"reduce": operator.add}])
def test_an_error_of_a_run_is_not_kept_by_a_reference_cycle(client, finish):
    gc.collect()
    gc.disable()
    try:
        try:
            client.run(tasks.look_up, [1], **finish)
        except tasks.NotThere as raised:
            error = weakref.ref(raised)
        assert error() is None
    finally:
        gc.enable()


def test_no_piece_spoils_the_combine_of_the_others(client):
    kinds = ["value", "lock", "unloadable", "interrupt", "sealed"]
    outcomes = client.options(errors="return").run(tasks.come_to, kinds, combine=list)
    assert [outcome.item for outcome in outcomes] == kinds
    assert [outcome.value for outcome in outcomes] == [1, None, None, None, None]
    errors = [type(outcome.error) for outcome in outcomes]
    assert errors == [type(None), plait.SerializationError, plait.RemoteError, asyncio.CancelledError, tasks.Sealed]
    for outcome in outcomes[2:]:
        assert "in come_to" in str(outcome.error.__cause__)


def test_a_combine_is_told_of_which_item_each_failure_is(client):
    """However a piece failed, and in order."""
    nowhere = client.options(resources={"moon": 1}).submit(tasks.same, 1)
    items = [
        ("value", 1),
        ("die", 2),
        ("lock", 3),
        (threading.Lock(), 4),
        ("die", client.submit(tasks.same, 5)),
        ("value", client.submit(tasks.fail, 6)),
        (tasks.Bomb(), 7),
        ("value", client.submit(tasks.same, 8)),
        ("value", nowhere),
    ]

    def work(what, number):
        if what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        return (tasks.come_to(what), number)

    def tell(outcomes):
        told = [(outcome.item, outcome.value, type(outcome.error).__name__) for outcome in outcomes]
        assert all(outcome.ok == (outcome.value is not None) for outcome in outcomes)
        return told, {outcome.worker is None for outcome in outcomes if not outcome.ok}

    with contextlib.suppress(plait.Unschedulable):
        nowhere.result(60)
    view = client.options(errors="return", crash_limit=1)
    told, workers = view.run(work, *zip(*items, strict=True), combine=tell)
    assert told == [
        (("value", 1), (1, 1), "NoneType"),
        (("die", 2), None, "TaskCrashed"),
        (("lock", 3), None, "SerializationError"),
        (None, None, "SerializationError"),
        (("die", None), None, "TaskCrashed"),
        (("value", None), None, "DependencyFailed"),
        (None, None, "ZeroDivisionError"),
        (("value", 8), (1, 8), "NoneType"),
        (("value", None), None, "DependencyFailed"),
    ]
    assert workers == {True, False}


def test_an_item_that_kills_whoever_unpickles_it_does_not_take_the_combine_along(client):
    view = client.options(errors="return", crash_limit=1)
    items = [1, tasks.Killer(), 3]
    assert view.run(tasks.same, items, combine=lambda outcomes: [o.value for o in outcomes]) == [1, None, 3]


def test_a_run_without_errors_returned_raises_what_an_item_cannot_be_pickled_for(client):
    with pytest.raises(plait.SerializationError, match=r"args\[0\]"):
        client.run(tasks.same, [1, threading.Lock()], combine=list)
    skipped = client.options(errors="skip").run(tasks.same, [1, threading.Lock(), 3], combine=list)
    assert skipped == [1, 3]


@pytest.mark.parametrize("chunksize", [None, 50])
def test_what_kills_executors_fails_alone(client, chunksize):
    def work(n):
        return tasks.leave(3) if n == 137 else n

    outcomes = list(client.options(errors="return").map(work, range(300), chunksize=chunksize))
    assert [outcome.value for outcome in outcomes] == [*range(137), None, *range(138, 300)]
    assert isinstance(outcomes[137].error, plait.TaskCrashed)
    assert [outcome.item for outcome in outcomes] == list(range(300))


def test_a_value_that_cannot_be_loaded_here_fails_alone(client):
    def work(n):
        return tasks.Unloadable(1, 2) if n == 70 else n

    outcomes = list(client.options(errors="return").map(work, range(100), chunksize=25))
    assert [outcome.value for outcome in outcomes] == [*range(70), None, *range(71, 100)]
    assert isinstance(outcomes[70].error, plait.SerializationError)


@pytest.mark.parametrize("errors", ["raise", "skip"])
def test_a_million_items_are_a_few_messages(client, errors):
    before = client.submit(tasks.same, 1)._seq
    results = client.options(errors=errors).map(tasks.same, range(1_000_000))
    assert sum(1 for n, value in enumerate(results) if n == value) == 1_000_000
    assert client.submit(tasks.same, 1)._seq - before < 2_000


@pytest.mark.parametrize("errors", ["raise", "return", "skip"])
@pytest.mark.parametrize("ordered", [True, False])
def test_what_a_chunk_gives_back_is_sent_again_in_its_place(client, errors, ordered):
    def work(n):
        tasks.pause(0.1 if n in (3_000, 3_001, 3_200) else 0)
        return n

    results = client.options(errors=errors, ordered=ordered).map(work, range(6_000))
    values = [result.value if errors == "return" else result for result in results]
    assert (values if ordered else sorted(values)) == list(range(6_000))


@pytest.mark.parametrize("ask", ["run", "map"])
def test_what_a_chunk_gives_back_does_not_wait_for_those_before_it(client, monkeypatch, tmp_path, ask):
    count, gate = 101, str(tmp_path / "gate")
    monkeypatch.setattr(Sizer, "size", lambda sizer, _slots: 1 if sizer._left == count else 100)

    def work(n):
        if n == 0:
            tasks.until(gate)
        if n == 2:
            tasks.pause(0.1)
        if n == count - 1:
            open(gate, "w").close()
        return n

    assert list(getattr(client, ask)(work, range(count))) == list(range(count))


def test_chunks_of_any_cost_give_what_a_loop_gives(client):
    draw = random.Random(5)
    costs = [draw.choice([0, 0, 0, 0, 0, 1e-4, 1e-3, 0.06]) for _ in range(400)]
    assert list(client.map(tasks.pause, costs, range(400))) == list(range(400))
    assert client.run(tasks.pause, costs, range(400)) == list(range(400))


@pytest.fixture(scope="module")
def open_client():
    """One whose chunks are shared by way of the coordinator, for others might come."""
    with plait.Client(slots=2, listen="127.0.0.1:0") as client:
        yield client


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("sizes", [{}, {"chunksize": 7}, {"chunksize": 200}, {"chunksize": 64, "buffersize": 100}])
@pytest.mark.parametrize("errors", ["skip", "return"])
def test_shared_chunks_of_any_cost_give_what_a_loop_gives(open_client, sizes, ordered, errors):
    draw = random.Random(7)
    costs = [draw.choice([0, 0, 0, 0, 0, 1e-4, 1e-3, 0.02]) for _ in range(200)]

    def work(cost, n):
        if n % 50 == 49:
            raise ValueError(n)
        return tasks.pause(cost, n)

    results = open_client.options(ordered=ordered, errors=errors).map(work, costs, range(200), **sizes)
    found = list(results) if ordered else sorted(results, key=lambda one: one if errors == "skip" else one.item[1])
    if errors == "skip":
        assert found == [n for n in range(200) if n % 50 != 49]
    else:
        assert [outcome.item[1] for outcome in found] == list(range(200))
        assert [outcome.value for outcome in found] == [None if n % 50 == 49 else n for n in range(200)]
    assert open_client._core.session.wait_idle(60)


@pytest.mark.parametrize("ordered", [True, False])
def test_the_end_of_a_shared_chunk_goes_to_an_idle_executor(open_client, tmp_path, ordered):
    gate = tmp_path / "gate"

    def work(n):
        if n == 7:
            gate.touch()
        return tasks.until(str(gate), n) if n == 0 else n

    results = open_client.options(ordered=ordered).map(work, range(8), chunksize=8)
    assert (list if ordered else sorted)(results) == list(range(8))
