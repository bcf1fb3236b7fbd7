"""Futures behave as the standard library's do, whoever waits, and however."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import pickle
import signal
import threading
from functools import partial

import pytest

import plait
from embedded import tasks
from plait import _dispatch
from plait._dispatch import Dispatcher
from rig import eventually

THOUSAND = 1_000


def test_a_result_comes_back(client):
    future = client.submit(pow, 2, 10)
    assert isinstance(future, concurrent.futures.Future)
    assert future.result(60) == 1024
    assert future.done() and not future.running() and not future.cancelled()
    assert future.exception() is None


def test_keyword_arguments_named_like_ours_reach_the_function(client):
    assert client.submit(dict, fn=1, self=2, timeout=3).result(60) == {"fn": 1, "self": 2, "timeout": 3}


def test_the_users_exception_arrives_as_itself(client):
    future = client.submit(tasks.fail, 3)
    with pytest.raises(ValueError, match="3") as caught:
        future.result(60)
    assert caught.value is future.exception()
    remote = str(caught.value.__cause__)
    frames = [line for line in remote.splitlines() if line.startswith("  File")]
    assert len(frames) == 1 and "in fail" in frames[0]
    (note,) = caught.value.__notes__
    assert "attempt 1" in note and "task" in note and " s" in note


def test_a_thousand_futures_every_way_at_once(client):
    futures = [client.submit(tasks.same, n) for n in range(THOUSAND)]
    expected = list(range(THOUSAND))
    called: list[int] = []
    answers: dict[str, object] = {}

    def by_wait():
        done, rest = concurrent.futures.wait(futures, 60)
        answers["wait"] = rest or sorted(f.result() for f in done)

    def by_as_completed():
        answers["as_completed"] = sorted(f.result() for f in concurrent.futures.as_completed(futures, 60))

    def by_asyncio():
        async def gather():
            return await asyncio.gather(*futures)

        answers["asyncio"] = asyncio.run(gather())

    def by_result():
        answers["result"] = [f.result(60) for f in futures]

    for future in futures:
        future.add_done_callback(lambda f: called.append(f.result()))
    threads = [threading.Thread(target=way) for way in (by_wait, by_as_completed, by_asyncio, by_result)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == dict.fromkeys(("wait", "as_completed", "asyncio", "result"), expected)
    eventually(lambda: len(called) == THOUSAND, "all callbacks ran")
    assert sorted(called) == expected


def test_only_who_asks_for_a_value_loads_it(client):
    futures = [client.submit(tasks.Loud, n) for n in range(20)]
    called: list[bool] = []
    for future in futures[:10]:
        future.add_done_callback(lambda f: called.append(f.done()))
    assert len(concurrent.futures.wait(futures, 60).done) == 20
    assert len(list(concurrent.futures.as_completed(futures, 60))) == 20
    eventually(lambda: len(called) == 10, "all callbacks ran")
    futures[0].add_done_callback(lambda f: called.append(f.cancelled()))
    assert called == [True] * 10 + [False]
    assert not any(future.cancelled() or future.cancel() or future.running() for future in futures)
    assert {future.info.state for future in futures} == {"finished"} and futures[1].info.attempts == 1
    assert "state=finished" in repr(futures[2])
    assert tasks.loaded == []
    assert futures[3].result()[0] == 3 and futures[4].exception() is None
    assert tasks.loaded == [3, 4]
    tasks.loaded.clear()


def test_what_others_were_told_of_is_not_cancelled_any_more(client, monkeypatch):
    future = client.submit(tasks.same, 1)
    told: list[bool] = []
    whereabouts = plait.Future._whereabouts

    def end_meanwhile(self):
        monkeypatch.setattr(plait.Future, "_whereabouts", whereabouts)
        monkeypatch.setattr(plait.Future, "_verdict", verdict)
        future.add_done_callback(lambda f: told.append(f.cancelled()))
        eventually(lambda: told, "the callback ran")
        return "pending"

    verdict = plait.Future._verdict
    monkeypatch.setattr(plait.Future, "_verdict", lambda _: None)
    monkeypatch.setattr(plait.Future, "_whereabouts", end_meanwhile)
    assert future.cancel() is False
    assert told == [False] and future.result(60) == 1 and not future.cancelled()


def test_what_is_awaited_is_loaded_by_the_dispatcher(client, tmp_path):
    gate = tmp_path / "gate"

    async def wait():
        waiting = asyncio.ensure_future(client.submit(tasks.loud_after, str(gate)))
        await asyncio.sleep(0)
        gate.touch()
        return await waiting

    assert asyncio.run(wait()) == (str(gate), "plait-dispatcher")
    tasks.loaded.clear()


def test_what_is_run_in_an_executor_is_loaded_by_the_dispatcher(client, tmp_path):
    gate = tmp_path / "gate"

    async def wait():
        waiting = asyncio.get_running_loop().run_in_executor(client, tasks.loud_after, str(gate))
        gate.touch()
        return await waiting

    assert asyncio.run(wait()) == (str(gate), "plait-dispatcher")
    tasks.loaded.clear()


@pytest.mark.parametrize("being_loaded", [False, True])
def test_what_is_over_when_it_is_awaited_is_loaded_by_another_thread(client, monkeypatch, being_loaded):
    future = client.submit(tasks.Loud, 1)
    assert concurrent.futures.wait([future], 60).done == {future}
    began, go, hear = threading.Event(), threading.Event(), tasks.hear

    def hear_later(name):
        began.set()
        assert go.wait(60)
        return hear(name)

    monkeypatch.setattr(tasks, "hear", hear_later)
    loader = threading.Thread(target=future.result, name="loader")
    if being_loaded:
        loader.start()
        assert began.wait(60)

    async def wait():
        waiting = asyncio.wrap_future(future)
        asyncio.get_running_loop().call_soon(go.set)  # which nobody does who is loading it in this thread
        return await waiting

    assert asyncio.run(wait())[1] in ("plait-dispatcher", "loader")
    if being_loaded:
        loader.join(60)
    assert future.result()[0] == 1
    tasks.loaded.clear()


def test_wait_for_the_first_exception(client, tmp_path):
    gate = tmp_path / "gate"
    slow, bad = client.submit(tasks.until, str(gate)), client.submit(tasks.fail, 1)
    done, rest = concurrent.futures.wait([slow, bad], 60, concurrent.futures.FIRST_EXCEPTION)
    assert (done, rest) == ({bad}, {slow})
    gate.touch()
    assert concurrent.futures.wait([slow], 60).done == {slow}


def test_wait_for_the_first_exception_loads_no_value(client, tmp_path):
    gate = tmp_path / "gate"
    over, slow = client.submit(tasks.Loud, 1), client.submit(tasks.until, str(gate))
    assert concurrent.futures.wait([over], 60).done == {over}
    done, rest = concurrent.futures.wait([over, slow], 0.0, concurrent.futures.FIRST_EXCEPTION)
    assert (done, rest) == ({over}, {slow}) and tasks.loaded == []
    gate.touch()
    assert slow.result(60) is None


def test_what_ends_while_its_holder_loads_something_is_announced_later(client, tmp_path, monkeypatch):
    monkeypatch.setattr(_dispatch, "_HELD_SECONDS", 0.0)
    over, slow = client.submit(tasks.Loud, 1), client.submit(tasks.until, str(tmp_path / "gate"))
    announce, hear, tries, states = plait.Future._announce_within, tasks.hear, [], []

    def count(self, seconds, call):
        tries.append(self)
        return announce(self, seconds, call)

    def end_meanwhile(name):
        (tmp_path / "gate").touch()
        eventually(lambda: tries.count(slow) > 2 or slow._state != "PENDING", "the dispatcher has tried")
        states.append(slow._state)
        return hear(name)

    monkeypatch.setattr(plait.Future, "_announce_within", count)
    monkeypatch.setattr(tasks, "hear", end_meanwhile)
    with over._condition, slow._condition:
        over._settle(60)
    assert states == ["PENDING"]
    assert concurrent.futures.wait([slow], 60).done == {slow}
    tasks.loaded.clear()


def test_wait_for_the_first_completed(client, tmp_path):
    gate = tmp_path / "gate"
    slow, quick = client.submit(tasks.until, str(gate)), client.submit(tasks.same, 1)
    done, _ = concurrent.futures.wait([slow, quick], 60, concurrent.futures.FIRST_COMPLETED)
    assert done == {quick}
    gate.touch()
    slow.result(60)


def test_wait_times_out(client, tmp_path):
    gate = tmp_path / "gate"
    slow = client.submit(tasks.until, str(gate))
    assert concurrent.futures.wait([slow], 0.05).not_done == {slow}
    with pytest.raises(TimeoutError):
        slow.result(0.05)
    with pytest.raises(TimeoutError):
        slow.exception(0)
    gate.touch()
    assert slow.result(60) is None


def test_callbacks_run_in_the_dispatcher_or_at_once(client, tmp_path):
    gate = tmp_path / "gate"
    ran: list[tuple] = []
    future = client.submit(tasks.until, str(gate))
    future.add_done_callback(lambda f: ran.append((f, threading.current_thread().name)))
    gate.touch()
    assert future.result(60) is None
    eventually(lambda: ran, "the callback ran")
    assert ran == [(future, "plait-dispatcher")]
    future.add_done_callback(lambda f: ran.append((f, threading.current_thread().name)))
    assert ran[1] == (future, threading.current_thread().name)


def test_a_failing_callback_spares_the_others(client, tmp_path, caplog):
    gate = tmp_path / "gate"
    ran: list = []
    future = client.submit(tasks.until, str(gate))
    future.add_done_callback(lambda f: 1 / 0)
    future.add_done_callback(ran.append)
    gate.touch()
    eventually(lambda: ran, "the second callback ran")
    assert "exception calling callback" in caplog.text


@pytest.mark.parametrize("held_seconds", [0.0, 3600.0])
def test_a_wait_that_was_interrupted_holds_up_no_other_future(client, tmp_path, monkeypatch, held_seconds):
    monkeypatch.setattr(_dispatch, "_HELD_SECONDS", held_seconds)
    gate = tmp_path / "gate"
    held, other = (client.submit(tasks.until, str(gate)) for _ in range(2))
    told: list[plait.Future] = []
    held.add_done_callback(told.append)
    other.add_done_callback(told.append)
    # As `concurrent.futures.wait` leaves it behind if Ctrl-C strikes while it collects what it will wait for.
    held._condition.acquire()
    gate.touch()
    eventually(lambda: other in told, "it is announced")
    if held_seconds:
        assert held.result(60) is None and told == [other], "somebody still looks at it"
        held._condition.release()
    eventually(lambda: held in told, "it is announced in the end")
    assert concurrent.futures.wait([held, other], 60).done == {held, other}


def test_a_future_that_was_about_to_be_watched_when_ctrl_c_came_can_be_waited_for(client, tmp_path, monkeypatch):
    gate = tmp_path / "gate"
    future = client.submit(tasks.until, str(gate))
    with monkeypatch.context() as patch:
        patch.setattr(Dispatcher, "watch", lambda *_: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            concurrent.futures.wait([future], 0.0)
    gate.touch()
    assert concurrent.futures.wait([future], 60).done == {future}


def test_the_dispatcher_exists_only_while_it_is_needed(client):
    eventually(lambda: "plait-dispatcher" not in [t.name for t in threading.enumerate()], "it is gone")
    assert client.submit(tasks.same, 1).result(60) == 1
    assert "plait-dispatcher" not in [t.name for t in threading.enumerate()]


def test_a_future_can_be_awaited(client):
    async def main():
        return await client.submit(tasks.same, 5), await asyncio.wrap_future(client.submit(tasks.same, 6))

    assert asyncio.run(main()) == (5, 6)


def test_an_awaited_exception_is_raised(client):
    async def main():
        await client.submit(tasks.fail, 5)

    with pytest.raises(ValueError, match="5"):
        asyncio.run(main())


def test_a_client_is_an_async_context_manager():
    async def main():
        async with plait.Client(slots=1) as client:
            return await client.submit(tasks.same, 7)

    assert asyncio.run(main()) == 7


def test_several_threads_get_the_same_object(client):
    future = client.submit(tasks.same, [1, 2])
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(future.result(60))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 8 and len({id(value) for value in found}) == 1


def test_info_tells_how_it_went(client):
    future = client.submit(tasks.pause, 0.02)
    future.result(60)
    info = future.info
    assert (info.state, info.attempts) == ("finished", 1)
    assert info.worker and info.total_seconds >= info.run_seconds >= 0.02


def test_a_dropped_future_still_runs_its_callback(client, tmp_path):
    gate = tmp_path / "gate"
    ran: list = []
    client.submit(tasks.until, str(gate), 9).add_done_callback(lambda f: ran.append(f.result()))
    gate.touch()
    eventually(lambda: ran == [9], "the callback ran")


def test_a_future_does_not_pickle_elsewhere(client):
    future = client.submit(tasks.same, 1)
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(future)
    future.result(60)


def test_a_client_does_not_pickle(client):
    with pytest.raises(TypeError, match="belongs to its process"):
        pickle.dumps(client)


def test_only_plait_settles_a_future(client):
    future = client.submit(tasks.same, 1)
    with pytest.raises(concurrent.futures.InvalidStateError):
        future.set_result(2)
    assert future.result(60) == 1


def test_repr_shows_the_state(client):
    future = client.submit(tasks.same, 1)
    future.result(60)
    assert "state=finished" in repr(future)


def test_big_arrays_come_back_writable(client):
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(1 << 20, dtype="float64")
    back = client.submit(tasks.same, array).result(60)
    assert (back == array).all()
    back[0] = 7.0
    assert back[0] == 7.0


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, asyncio.CancelledError])
def test_a_callback_that_raises_anything_spares_later_futures(client, tmp_path, caplog, kind):
    def explode(_):
        raise kind

    bad = client.submit(tasks.until, str(tmp_path / "go"))
    bad.add_done_callback(explode)
    (tmp_path / "go").touch()
    assert bad.result() is None
    eventually(lambda: "exception calling callback" in caplog.text, "the callback ran")
    called = threading.Event()
    client.submit(tasks.pause, 0.05).add_done_callback(lambda _: called.set())
    assert called.wait(60)


class EndsWhenLoaded:
    """A result that ends the thread that unpickles it here."""

    def __reduce__(self) -> tuple:
        return (_end_here, (os.getpid(),))


def _end_here(pid: int) -> None:
    if os.getpid() != pid:
        raise asyncio.CancelledError


def test_a_result_that_cannot_be_unpickled_has_its_callbacks_called_and_those_of_others(client):
    called: list[plait.Future] = []
    for count, future in enumerate((client.submit(EndsWhenLoaded), client.submit(abs, -1))):
        future.add_done_callback(called.append)
        eventually(partial(called.__getitem__, slice(count, None)), "its callback ran")
    with pytest.raises(plait.SerializationError, match="CancelledError"):
        called[0].result(60)
    assert called[1].result(60) == 1
