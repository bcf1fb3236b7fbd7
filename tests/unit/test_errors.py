"""Every exception of plait pickles with its fields, and outcomes become the right ones."""

from __future__ import annotations

import pickle
from concurrent.futures import BrokenExecutor, CancelledError

import pytest

from plait import _errors as errors
from plait._serialize import dump_error, load_error

SAMPLES = [
    errors.ConnectError("m", address="host:1"),
    errors.AuthError("m", address="host:1"),
    errors.VersionMismatch("m", ours="1", theirs="2"),
    errors.Unschedulable("m", asked="9 cpus", best="w", missing="5 cpus"),
    errors.TaskCrashed("m", attempts=[{"host": "h", "pid": 1, "signal": 11}]),
    errors.DependencyFailed("m", task=3),
    errors.SerializationError("m", path="args[0]", reason="r", size=5),
    errors.ResultTooLarge("m", size=9, limit=8),
    errors.NoSpace("m", size=9, path="/tmp", reason="full"),
    errors.RemoteError("m", type_name="ValueError", traceback="t"),
    errors.CoordinatorLost("m"),
]


@pytest.mark.parametrize("error", SAMPLES, ids=lambda e: type(e).__name__)
def test_errors_pickle_with_their_fields(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and isinstance(again, errors.PlaitError)
    assert again.args == error.args and again.__dict__ == error.__dict__


def test_coordinator_lost_is_a_broken_executor():
    assert issubclass(errors.CoordinatorLost, BrokenExecutor)


def test_dependency_failed_pickles_its_cause():
    error = errors.DependencyFailed("m", task=3)
    error.__cause__ = ValueError("why")
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again.__cause__, ValueError) and again.__cause__.args == ("why",)


def test_crash_names_the_signal_and_keeps_every_attempt():
    death = {"host": "h", "pid": 7, "signal": 11, "code": None, "peak_memory": 1, "log_tail": "last words"}
    error = errors.error_from(("crashed", [death, death]), load_error, "task 1")
    assert isinstance(error, errors.TaskCrashed) and error.attempts == [death, death]
    assert "SIGSEGV" in str(error) and "last words" in str(error) and error.__notes__ == ["task 1"]


def test_crash_names_the_exit_code():
    death = {"host": "h", "pid": 7, "signal": None, "code": 3, "peak_memory": 0, "log_tail": ""}
    assert "exited with code 3" in str(errors.error_from(("crashed", [death]), load_error))


def test_failed_dependency_has_the_real_error_as_its_cause():
    raised = ("raised", dump_error(KeyError("k")))
    error = errors.error_from(("dependency", 4, raised), load_error)
    assert isinstance(error, errors.DependencyFailed) and error.task == 4
    assert isinstance(error.__cause__, KeyError)
    cancelled = errors.error_from(("dependency", 4, ("cancelled",)), load_error)
    assert isinstance(cancelled.__cause__, CancelledError)


@pytest.mark.parametrize(
    ("outcome", "kind", "words"),
    [
        (("unschedulable", "cpus=9", "w1", "cpus=7"), errors.Unschedulable, "cpus=7"),
        (("unschedulable", "gpu=1", "", "gpu=1"), errors.Unschedulable, "gpu=1"),
        (("too_large", 10, 5), errors.ResultTooLarge, "10 bytes"),
        (("no_space", 10, "/big", "full"), errors.NoSpace, "no room in /big: full"),
        (("unknown", "why"), errors.PlaitError, "why"),
        (("lost", "gone"), errors.CoordinatorLost, "gone"),
        (("cancelled",), CancelledError, ""),
    ],
)
def test_outcomes_become_exceptions(outcome, kind, words):
    error = errors.error_from(outcome, load_error)
    assert isinstance(error, kind) and words in str(error)
