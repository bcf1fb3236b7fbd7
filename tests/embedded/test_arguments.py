"""Futures are arguments, options are obeyed, and what is wrong is said at once."""

from __future__ import annotations

import os
import threading

import pytest

import plait
from embedded import tasks


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"slots": -1}, ValueError),
        ({"slots": 0}, ValueError),
        ({"slots": 1.5}, TypeError),
        ({"slots": True}, TypeError),
        ({"listen": 8000}, TypeError),
        ({"address": "x", "slots": 2}, ValueError),
        ({"address": "x", "listen": "127.0.0.1:0"}, ValueError),
    ],
    ids=str,
)
def test_a_client_with_bad_arguments_is_refused(arguments, error):
    with pytest.raises(error):
        plait.Client(**arguments)


def test_a_nonsense_address_says_what_one_looks_like():
    with pytest.raises(plait.ConnectError, match="plait1c-"):
        plait.Client("nonsense")


@pytest.mark.parametrize("listen", ["8000", ":8000", "nonsense:port"])
def test_an_address_that_cannot_be_listened_on_says_what_one_looks_like(listen):
    with pytest.raises(plait.ConnectError, match=r"127\.0\.0\.1:8000"):
        plait.Client(listen=listen)


def test_an_address_of_bytes_is_one_too():
    with pytest.raises(plait.ConnectError, match="plait1c-"):
        plait.Client(b"nonsense")  # type: ignore[arg-type]


def test_the_environment_names_the_address(monkeypatch):
    monkeypatch.setenv("PLAIT_ADDRESS", "nonsense")
    with pytest.raises(plait.ConnectError, match="nonsense"):
        plait.Client()
    with plait.Client(slots=1) as client:
        assert client.submit(tasks.same, 1).result(60) == 1


def test_what_is_not_callable_is_refused(client):
    for call in (lambda: client.submit(3), lambda: client.map(3, [1]), lambda: client.run(3, [1])):
        with pytest.raises(TypeError, match="callable"):
            call()
    with pytest.raises(TypeError, match="callable"):
        client.run(tasks.same, [1], reduce=3)


def test_unknown_options_are_refused(client):
    with pytest.raises(TypeError, match="unknown option"):
        client.options(speed=1)
    with pytest.raises(ValueError, match="retries"):
        client.options(retries=-1)


def test_futures_are_arguments_however_deep(client):
    two, three = client.submit(pow, 2, 1), client.submit(pow, 3, 1)
    nested = client.submit(tasks.same, {"a": [two, (three, {"b": two})]}).result(60)
    assert nested == {"a": [2, (3, {"b": 2})]}
    assert client.submit(pow, two, exp=three).result(60) == 8


def test_chains_and_fans_of_futures(client):
    chain = client.submit(tasks.same, 0)
    for _ in range(50):
        chain = client.submit(tasks.add, chain, 1)
    fan = client.submit(sum, [client.submit(tasks.add, chain, n) for n in range(50)])
    assert fan.result(60) == 50 * 50 + sum(range(50))


def test_a_failed_dependency_has_the_real_error_as_its_cause(client):
    with pytest.raises(plait.DependencyFailed) as caught:
        client.submit(tasks.same, [client.submit(tasks.fail, 3)]).result(60)
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_dependency_that_never_left_fails_what_needs_it(client):
    broken = client.submit(tasks.same, threading.Lock())
    with pytest.raises(plait.DependencyFailed) as caught:
        client.submit(tasks.same, broken).result(60)
    assert isinstance(caught.value.__cause__, plait.SerializationError)


def test_a_future_of_another_client_is_refused(client):
    with plait.Client(slots=1) as other:
        future = other.submit(tasks.same, 1)
        with pytest.raises(ValueError, match="another Client"):
            client.submit(tasks.same, future)
        future.result(60)


def test_retries_count_exceptions(client, tmp_path):
    counter = tmp_path / "calls"
    assert client.options(retries=2).submit(tasks.count_calls, str(counter), 2).result(60) == 3
    counter.unlink()
    with pytest.raises(KeyError):
        client.options(retries=1).submit(tasks.count_calls, str(counter), 2).result(60)
    counter.unlink()
    with pytest.raises(KeyError):
        client.options(retries=5, retry_on=OSError).submit(tasks.count_calls, str(counter), 2).result(60)
    assert counter.stat().st_size == 1


def test_pinned_options_count_unless_set_by_hand(client, tmp_path):
    counter = tmp_path / "calls"

    @plait.task(retries=1)
    def twice(path):
        return tasks.count_calls(path, 1)

    assert client.submit(twice, str(counter)).result(60) == 2
    counter.unlink()
    with pytest.raises(KeyError):
        client.options(retries=0).submit(twice, str(counter)).result(60)


def test_a_larger_priority_runs_before_all_that_has_not_begun(tmp_path):
    log = tmp_path / "log"
    begun, gates = ([tmp_path / f"{name}{n}" for n in range(2)] for name in ("begun", "gate"))

    def note(name):
        with open(log, "a") as file:
            file.write(name)

    with plait.Client(slots=2) as client:
        busy = [client.submit(tasks.touch_then_wait, str(b), str(g)) for b, g in zip(begun, gates, strict=True)]
        for path in begun:
            tasks.until(str(path))
        waiting = [client.submit(note, "-") for _ in range(30)]
        urgent = client.options(priority=1).submit(note, "+")
        # What was submitted before is where it belongs once this is refused.
        with pytest.raises(plait.Unschedulable):
            client.options(cpus=99).submit(tasks.nothing).result(60)
        gates[1].touch()
        urgent.result(60)
        assert log.read_text().startswith("+")
        gates[0].touch()
        for future in (*busy, *waiting):
            future.result(60)
    assert len(log.read_text()) == 31


def test_a_task_that_nobody_can_run_says_what_is_missing(client):
    with pytest.raises(plait.Unschedulable) as caught:
        client.options(cpus=99).submit(tasks.nothing).result(60)
    assert "99" in caught.value.asked
    with pytest.raises(plait.Unschedulable, match="gpu"):
        client.options(resources={"gpu": 1}).submit(tasks.nothing).result(60)


def test_a_task_takes_the_slots_that_it_asks_for(client):
    assert client.options(cpus=2).submit(tasks.same, 1).result(60) == 1


def test_plait_inside_a_task_is_a_clear_error(client):
    with pytest.raises(plait.PlaitError, match="inside a task"):
        client.submit(tasks.use_plait).result(60)


def test_executors_are_children_with_a_clean_environment(client, monkeypatch):
    pid, parent = client.submit(tasks.info).result(60)
    assert parent == os.getpid() != pid
    assert client.submit(os.environ.get, "PLAIT_ADDRESS").result(60) is None


def test_a_rebound_capture_is_seen(client):
    captured = 1

    def read():
        return captured

    assert client.submit(read).result(60) == 1
    captured = 2
    assert client.submit(read).result(60) == 2


def test_workers_are_listed(client):
    (worker,) = client.workers()
    assert (worker.slots, worker.state) == (2, "live")


def test_an_executor_like_any_other_for_those_who_take_one(client):
    import concurrent.futures

    for executor in (client, client.options(priority=1)):
        assert isinstance(executor, concurrent.futures.Executor)
        assert list(executor.map(abs, [-1])) == [1]


def test_after_shutdown_nothing_can_be_submitted():
    client = plait.Client(slots=1)
    view = client.options(retries=1)
    future = client.submit(tasks.same, 1)
    client.shutdown()
    client.shutdown()
    assert future.result() == 1
    for closed in (client, view):
        with pytest.raises(RuntimeError, match="shutdown"):
            closed.submit(tasks.same, 1)
        with pytest.raises(RuntimeError, match="after shutdown"):
            closed.workers()


def test_shutdown_waits_for_pending_work(tmp_path):
    with plait.Client(slots=1) as client:
        futures = [client.submit(tasks.pause, 0.01, n) for n in range(10)]
    assert [f.result(0) for f in futures] == list(range(10))


def test_default_client_serves_the_module_functions():
    from plait import _client

    assert plait.run(tasks.same, [1, 2]) == [1, 2]
    assert list(plait.map(tasks.same, [1, 2])) == [1, 2]
    assert _client.default_client() is _client.default_client()
    _client.default_client().shutdown()
    assert plait.run(tasks.same, [3]) == [3]
    _client.default_client().shutdown()


def test_a_pinned_retry_on_counts_unless_set_by_hand(client, tmp_path):
    pinned = plait.task(retries=2, retry_on=KeyError)(lambda path: tasks.note_and_fail(path))

    def attempts(view, name):
        with pytest.raises(ValueError):
            view.submit(pinned, str(tmp_path / name)).result()
        return len((tmp_path / name).read_text().splitlines())

    assert attempts(client, "pinned") == 1
    assert attempts(client.options(retry_on=ValueError), "by hand") == 3
    assert attempts(client.options(priority=1), "another option") == 1


def test_a_callable_object_is_what_it_is_when_it_is_submitted(client):
    adder = tasks.Adder(1)
    first = client.submit(adder, 10)
    adder.held = 2
    assert (first.result(), client.submit(adder, 10).result()) == (11, 12)
