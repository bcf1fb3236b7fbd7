"""The prototype's server, with a client that works at once."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import pytest

import plait
from plait import compat
from plait.compat import DistributedServer


class Client:
    """Opens no port and does the work here."""

    join_line = "key@host:1"
    refuses = False

    def __init__(self, **_: Any) -> None:
        if Client.refuses:
            raise plait.ConnectError("in use")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def options(self, **_: Any) -> Client:
        return self

    def map(self, work: Callable[[Any], Any], pieces: Iterable[Any]) -> Iterable[Any]:
        return map(work, pieces)


class Same(DistributedServer):
    """Returns what it is given."""

    def perform_sub_task(self, piece: Any) -> Any:
        return piece


class Sorts(Same):
    """Collects in lists within a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.results: Any = {"even": [], "odd": []}

    def handle_results(self, result: int) -> None:
        self.results["odd" if result % 2 else "even"].append(result)


class Writes(Same):
    """Collects in a file, and never calls the class that it is made from."""

    def __init__(self, path: Any) -> None:
        self.host, self.port = "127.0.0.1", 0
        self.results: Any = open(path, "w+")  # noqa: SIM115

    def handle_results(self, result: Any) -> None:
        self.results.write(f"{result}\n")

    def combine_results(self) -> str:
        self.results.seek(0)
        text: str = self.results.read()
        return text


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compat, "Client", Client)


def test_a_server_that_runs_again_begins_with_nothing_of_the_run_before() -> None:
    server = Sorts()
    first = server.run([1, 2])
    with pytest.warns(UserWarning, match="have left"):
        assert server.run([3]) == {"even": [], "odd": [3]}
    assert first == {"even": [2], "odd": [1]}


def test_a_server_may_collect_in_what_cannot_be_copied(tmp_path: Any) -> None:
    server = Writes(tmp_path / "results")
    with server.results:
        assert server.worker_nodes == [] and server.run("ab") == "a\nb\n"
        with pytest.warns(UserWarning, match="have left"):
            assert server.run("c") == "a\nb\nc\n"


def test_a_server_whose_port_was_in_use_has_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Same()
    with monkeypatch.context() as patch:
        patch.setattr(Client, "refuses", True)
        with pytest.raises(plait.ConnectError):
            server.run("a")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert server.run("a") == ["a"]
    assert told == []
