"""A run shows how far it is: on a terminal, to a callable, or not at all."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator

import pytest

from plait import _config
from plait._progress import Meter, size_of


class Terminal(io.StringIO):
    """A stderr that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_bar_only_on_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert not Meter(None, 3, "").wanted
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Meter(None, 3, "square") as meter:
        assert meter.wanted
        meter.show(3, 3)
    shown = sys.stderr
    assert isinstance(shown, Terminal)
    assert "square: 100%" in shown.getvalue()


def test_the_environment_switches_bars_off(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("PLAIT_PROGRESS", "0")
    assert not Meter(None, 3, "").wanted


def test_false_is_no_bar_even_on_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert not Meter(False, 3, "").wanted


def test_a_callable_hears_each_change_once(monkeypatch):
    heard = []
    meter = Meter(lambda done, total: heard.append((done, total)), 3, "")
    assert meter.due()
    for done in (1, 1, 2):
        meter.show(done, 3)
    assert heard == [(1, 3), (2, 3)]
    monkeypatch.setattr(_config, "PROGRESS_SECONDS", 100.0)
    meter.show(3, 3)
    assert not meter.due()


def test_nonsense_is_refused():
    with pytest.raises(TypeError, match="progress"):
        Meter("yes", 3, "")  # type: ignore[arg-type]


def test_sizes_are_known_where_they_can_be():
    assert size_of(([1, 2], range(5))) == 2
    assert size_of(([1, 2], (x for x in "abc"))) is None
    assert size_of((iter([1, 2, 3]),)) == 3


@pytest.mark.parametrize("error", [TypeError, NotImplementedError])
def test_a_length_that_raises_is_no_length(error):
    class Stream:
        def __len__(self) -> int:
            raise error

        def __iter__(self) -> Iterator[int]:
            return iter([1, 2])

    assert size_of(([1], Stream())) is None
