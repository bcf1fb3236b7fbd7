"""Runs travel in chunks that size themselves, and come to what plain Python would make of them."""

from __future__ import annotations

import functools
import itertools
import operator
import os
import random
import threading
from pathlib import Path

import pytest

import plait
from embedded import tasks
from plait import _config
from plait._chunks import Sizer
from rig import eventually


@pytest.fixture(params=[None, 1, 2, 3])
def sizes(request, monkeypatch):
    """Chunks as plait sizes them, or of any size."""
    if request.param is not None:
        rng = random.Random(request.param)
        monkeypatch.setattr(Sizer, "size", lambda _self, _slots: rng.choice([1, 1, 2, 3, 7, 40]))
    return random.Random(request.param)


def either(n: int, kind: str) -> object:
    """Return an item: plain, or one that is pickled apart where one failure is not the end of all."""
    return n if kind == "plain" else {"n": n}


@pytest.mark.parametrize("kind", ["plain", "rich"])
@pytest.mark.parametrize("errors", ["raise", "skip"])
def test_a_run_is_what_plain_python_makes_of_it(client, sizes, kind, errors):
    view = client.options(errors=errors, retries=1)
    for count in (0, 1, 2, 17, sizes.randrange(1_000)):
        bad = set() if errors == "raise" else {n for n in range(count) if sizes.random() < 0.1}

        def work(item, bad=bad):
            n = item if isinstance(item, int) else item["n"]
            if n in bad:
                raise ValueError(n)
            return f"{n} "

        items = range(count) if kind == "plain" else [either(n, kind) for n in range(count)]
        good = [f"{n} " for n in range(count) if n not in bad]
        assert view.run(work, items, combine=list) == good
        assert view.run(work, iter(items), combine=len) == len(good)
        assert view.run(work, items, reduce=operator.add, initial="first ") == "first " + "".join(good)
        if good:
            assert view.run(work, items, reduce=operator.add) == functools.reduce(operator.add, good)
        else:
            with pytest.raises(TypeError, match="reduce of no results"):
                view.run(work, items, reduce=operator.add)


def test_every_outcome_is_in_its_place(client, sizes):
    def work(what, n):
        if what == "raise":
            raise LookupError(n)
        return threading.Lock() if what == "lock" else -n

    kinds = ["fine", "fine", "fine", "raise", "lock", "unpicklable", "bomb"]
    planned = [(sizes.choice(kinds), n) for n in range(300)]
    things = {"unpicklable": threading.Lock(), "bomb": tasks.Bomb()}
    items = [(things.get(what, what), n) for what, n in planned]
    view = client.options(errors="return")
    told = view.run(
        work, *zip(*items, strict=True), combine=lambda all_of_it: [(o.item, o.value, o.error) for o in all_of_it]
    )
    errors = {"raise": LookupError, "lock": plait.SerializationError, "unpicklable": plait.SerializationError}
    errors["bomb"] = ZeroDivisionError
    for (what, n), (item, value, error) in zip(planned, told, strict=True):
        assert item == (None if what in things else (what, n))
        assert value == (-n if what == "fine" else None)
        assert type(error) is errors.get(what, type(None))


@pytest.mark.parametrize(("finish", "errors"), [("combine", "skip"), ("combine", "return"), ("reduce", "skip")])
@pytest.mark.parametrize("killer", ["call", "unpickling"])
def test_what_kills_executors_costs_no_other_item(client, finish, errors, killer):
    bad = {40, 41, 123}

    def work(item):
        return os._exit(3) if item["n"] in bad else [item["n"]]

    def thing(n):
        return tasks.Killer() if killer == "unpickling" and n in bad else {"n": n}

    view = client.options(errors=errors, crash_limit=1)
    items = [thing(n) for n in range(200)]
    good = [n for n in range(200) if n not in bad]
    if finish == "reduce":
        assert view.run(work, items, reduce=operator.add) == good
    elif errors == "skip":
        assert view.run(work, items, combine=list) == [[n] for n in good]
    else:
        told = view.run(work, items, combine=lambda all_of_it: [(o.value, type(o.error).__name__) for o in all_of_it])
        assert told == [(None, "TaskCrashed") if n in bad else ([n], "NoneType") for n in range(200)]


def test_a_killer_ends_a_run_that_raises(client):
    for finish in ({"combine": list}, {"reduce": operator.add}):
        with pytest.raises(plait.TaskCrashed):
            client.options(crash_limit=1).run(tasks.leave, [3] * 50, **finish)


@pytest.mark.parametrize("errors", ["raise", "skip"])
def test_a_merge_that_fails_ends_the_run(client, sizes, errors):
    def merge(_a, _b):
        raise ArithmeticError("no sum")

    with pytest.raises(ArithmeticError, match="no sum"):
        client.options(errors=errors).run(tasks.same, range(200), reduce=merge)
    # Without anything to merge it is not called.
    assert client.options(errors=errors).run(tasks.same, [7], reduce=merge) == 7


def test_a_merge_is_tried_again_as_often_as_a_call(client, sizes, tmp_path):
    def merge(a, b):
        tasks.count_calls(str(tmp_path / "calls"), 1)
        return a + b

    assert client.options(retries=1).run(tasks.same, range(100), reduce=merge) == 4_950


def test_items_are_retried_in_their_place(client, sizes, tmp_path):
    def work(n):
        if n % 10 == 3:
            tasks.count_calls(str(tmp_path / str(n)), 2)
        return n

    view = client.options(retries=2)
    assert view.run(work, range(50), reduce=operator.add) == sum(range(50))
    assert view.run(work, range(50), combine=list) == list(range(50))


def test_the_lowest_error_that_is_known_ends_a_run(client):
    with pytest.raises(ValueError, match="700") as caught:
        client.run(tasks.fail_on, [700] * 5_000, range(5_000), combine=len)
    assert caught.value.args == (700,) and "in fail_on" in str(caught.value.__cause__)


@pytest.mark.parametrize("finish", [{"reduce": operator.add}, {"combine": sum}])
def test_a_million_pieces_are_a_few_messages(client, finish):
    before = client.submit(tasks.same, 1)._seq
    assert client.run(tasks.same, range(1_000_000), **finish) == sum(range(1_000_000))
    assert client.submit(tasks.same, 1)._seq - before < 2_000


def test_a_list_of_a_million_is_a_few_messages(client):
    before = client.submit(tasks.same, 1)._seq
    assert client.run(tasks.same, range(1_000_000)) == list(range(1_000_000))
    assert client.submit(tasks.same, 1)._seq - before < 2_000


def test_a_failure_far_behind_an_item_that_takes_long_ends_a_list(client, monkeypatch, tmp_path):
    monkeypatch.setattr(_config, "RUN_WINDOW", 1 << 40)

    def work(n):
        return tasks.fail_on(100, n) if n else tasks.until(str(tmp_path / "never"))

    with pytest.raises(ValueError, match="100"):
        client.run(work, itertools.count())


def test_progress_of_a_list_goes_on_behind_an_item_that_takes_long(client, tmp_path):
    gate = tmp_path / "gate"
    shown: list[int] = []

    def show(done, _total):
        shown.append(done)
        if done >= 1_000:
            gate.touch()

    def work(n):
        return tasks.until(str(gate), n) if n == 0 else n

    assert client.run(work, range(3_000), progress=show) == list(range(3_000))
    assert shown[-1] == 3_000 and shown == sorted(shown)


@pytest.mark.parametrize("finish", [{"reduce": operator.add}, {"combine": sum}])
def test_progress_counts_items(client, finish):
    shown: list[tuple[int, int | None]] = []
    total = 20_000
    client.run(tasks.same, range(total), progress=lambda done, of: shown.append((done, of)), **finish)
    assert shown[-1] == (total, total)
    assert [done for done, _ in shown] == sorted(done for done, _ in shown)


def test_a_larger_priority_does_not_wait_for_a_chunk_of_long_items(monkeypatch, tmp_path):
    monkeypatch.setattr(Sizer, "size", lambda _self, _slots: 100)
    log = str(tmp_path / "log")

    def work(n):
        with open(log, "a") as lines:
            lines.write(f"{n}\n")
        return tasks.pause(0.02, n)

    with plait.Client(slots=1) as client:
        results: list[int] = []
        run = threading.Thread(target=lambda: results.append(client.run(work, range(100), reduce=operator.add)))
        run.start()
        eventually(lambda: os.path.exists(log), "the chunk has begun")
        client.options(priority=1).submit(work, "urgent").result(60)
        run.join(60)
    order = Path(log).read_text().split()
    assert results == [sum(range(100))]
    assert len(order) == 101 and order.index("urgent") < 90


def test_futures_among_the_items_go_where_they_stand(client):
    items = [client.submit(tasks.same, n) if n % 7 == 0 else n for n in range(100)]
    assert client.run(tasks.same, items, combine=list) == list(range(100))
    assert client.run(lambda n: [n], items, reduce=operator.add) == list(range(100))


def test_a_run_holds_what_merges_until_its_last_piece_is_sent(client):
    class Adder:
        def merge(self, a, b):
            return a + b

    def items():
        """Make the session forget what nobody holds."""
        for n in range(3 * _config.FUNCTIONS_RECENT):
            client.submit(lambda n=n: n)
            yield n

    count = 3 * _config.FUNCTIONS_RECENT
    assert client.run(tasks.same, items(), reduce=Adder().merge) == sum(range(count))


def test_an_input_that_raises_ends_the_run(client):
    def items():
        yield from range(10)
        raise LookupError("broken input")

    with pytest.raises(LookupError, match="broken input"):
        client.run(tasks.same, items(), combine=list)


@pytest.mark.parametrize("finish", [{"reduce": operator.add}, {"combine": sum}])
def test_a_run_that_cannot_begin_leaves_nothing_pending(client, finish):
    with pytest.raises(TypeError, match="not iterable"):
        client.run(pow, [1, 2], 5, **finish)
    assert client.run(pow, [1, 2], [5, 5], **finish) == 33


def test_a_run_of_which_nobody_holds_the_result_is_stopped(client):
    core, entry = client._core, client._functions.find(sum)
    number, ticket = core.session.open_combine(entry.number, "raise", client._option_number)
    assert (ticket.state(), core.session.wait_idle(0.0)) == ("pending", False)
    del ticket
    assert core.session.wait_idle(60), f"run {number} would never be sealed"


def test_large_items_and_their_outcomes_are_not_copied_into_the_stream(client):
    numpy = pytest.importorskip("numpy")
    arrays = [numpy.full(300_000, n) for n in range(6)]

    def tell(outcomes):
        return [(int(outcome.item[0]), int(outcome.value), outcome.item.nbytes) for outcome in outcomes]

    told = client.options(errors="return").run(lambda array: array.sum(), arrays, combine=tell)
    assert told == [(n, n * 300_000, 2_400_000) for n in range(6)]
    assert client.options(errors="skip").run(len, arrays, combine=sum) == 1_800_000
