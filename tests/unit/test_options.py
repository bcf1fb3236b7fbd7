"""Options are checked where they are given."""

from __future__ import annotations

import pytest

import plait
from plait._options import PINS, Options


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"cpus": 0}, ValueError),
        ({"cpus": 1.5}, TypeError),
        ({"cpus": True}, TypeError),
        ({"retries": -1}, ValueError),
        ({"crash_limit": 0}, ValueError),
        ({"priority": "high"}, TypeError),
        ({"priority": 2**40}, ValueError),
        ({"resources": ["gpu"]}, TypeError),
        ({"resources": {"gpu": -1}}, ValueError),
        ({"resources": {"gpu": float("inf")}}, ValueError),
        ({"resources": {1: 1}}, TypeError),
        ({"label": 3}, TypeError),
        ({"label": "x" * 300}, ValueError),
        ({"resources": {"x" * 300: 1}}, ValueError),
        ({"resources": {f"r{n}": 1 for n in range(33)}}, ValueError),
        ({"ordered": 1}, TypeError),
        ({"errors": "ignore"}, ValueError),
        ({"retry_on": "ValueError"}, TypeError),
        ({"retry_on": ()}, TypeError),
        ({"timeout": 3}, TypeError),
        ({"memory": 1}, TypeError),
    ],
    ids=str,
)
def test_bad_options_are_refused_at_once(options, error):
    with pytest.raises(error):
        Options().merged(options)
    with pytest.raises(error):
        plait.task(**options)


def test_unknown_options_are_named_with_those_there_are():
    with pytest.raises(TypeError, match=r"unknown option 'speed'.*retries"):
        Options().merged({"speed": 1})


def test_options_are_merged_and_never_changed():
    first = Options()
    second = first.merged({"retries": 2, "resources": {"gpu": 0.5}})
    third = second.merged({"priority": 1})
    assert (first.retries, third.retries, third.priority, third.resources) == (0, 2, 1, (("gpu", 5_000),))


def test_task_returns_the_very_function_with_its_pins():
    def fn(x):
        return x + 1

    assert plait.task(retries=2)(fn) is fn
    plait.task(priority=5)(fn)
    assert getattr(fn, PINS) == {"retries": 2, "priority": 5}
    assert fn(1) == 2


def test_options_set_by_hand_beat_pins():
    pins = {"retries": 2, "priority": 5}
    both = Options().merged({"retries": 7}).over(pins)
    assert (both.retries, both.priority) == (7, 5)
    assert Options().over(None).retries == 0


def test_task_wants_a_function():
    with pytest.raises(TypeError, match="function"):
        plait.task(retries=1)("text")  # type: ignore[type-var]
