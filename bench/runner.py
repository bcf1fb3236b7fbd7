"""Takes the figures: every one in a fresh process with a limit, plait next to a peer each time."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.cases import Case
from bench.cases.case import Values
from bench.memory import descendants
from bench.record import Row

ROOT = Path(__file__).parent.parent
#: `prctl` option: orphans of what we start become ours, so that none can stay behind.
PR_SET_CHILD_SUBREAPER = 36
#: How much of a failure is told, in characters.
TOLD = 200


class Failed(Exception):
    """A system did not finish a case; says why."""


def adopt_orphans() -> None:
    """Become the parent of every process whose own parent ends."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def measure(case: Case, system: str, size: str) -> Values:
    """Measure one system in one case, in a fresh process; whatever it leaves behind is ended.

    Raises:
        Failed: If it hangs or fails.
    """
    with tempfile.TemporaryDirectory(prefix="plait-bench-") as folder:
        answer, words = Path(folder, "answer"), Path(folder, "words")
        command = [sys.executable, "-m", "bench.child", str(answer), system, size, case.name]
        try:
            with words.open("wb") as file:
                # Files, not pipes: somebody's daemon would hold a pipe open.
                code = subprocess.run(
                    command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=file, stderr=file, timeout=case.limit
                ).returncode
        except subprocess.TimeoutExpired:
            raise Failed(f"not within {case.limit:.0f} s") from None
        finally:
            end_descendants()
        if code != 0:
            lines = words.read_text(errors="replace").strip().splitlines()
            raise Failed((lines[-1] if lines else f"ended with code {code}")[:TOLD])
        figures: dict[str, list[float | None]] = json.loads(answer.read_text())
        return tuple(figures[case.name])


def end_descendants() -> None:
    """Kill what is left below us, until nothing is."""
    while left := descendants(os.getpid()):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.01)


class Taking:
    """One case as it is taken: round after round, and whoever failed once is not asked again."""

    def __init__(self, case: Case, peers: list[str], size: str, say: Callable[[str], None]) -> None:
        self.case = case
        self.size = size
        self.say = say
        self.failures: dict[str, str] = {}
        self.rows = {peer: self.rows_beside(peer) for peer in peers or [""]}

    def rows_beside(self, peer: str) -> list[Row]:
        case = self.case
        return [Row(case.name, figure.name, figure.unit, figure.better, case.ours, peer) for figure in case.figures]

    def take(self, pairs: int) -> list[Row]:
        """Take so many pairs beside each peer."""
        for turn in range(pairs):
            for group in groups(self.case.ours, [peer for peer in self.rows if peer not in self.failures]):
                self.take_group(group if turn % 2 == 0 else group[::-1])
        for peer, rows in self.rows.items():
            for row in rows:
                row.failure = self.failures.get(self.case.ours) or self.failures.get(peer, "")
        return [row for rows in self.rows.values() for row in rows]

    def take_group(self, group: list[str]) -> None:
        """Take plait and its neighbours, one after the other."""
        values = {name: self.take_one(name) for name in group if name}
        ours = values[self.case.ours]
        for peer in group:
            theirs = values.get(peer)
            for n, row in enumerate(self.rows.get(peer, ())):
                row.pairs.append((ours[n] if ours else None, theirs[n] if theirs else None))

    def take_one(self, name: str) -> Values | None:
        if name in self.failures:
            return None
        began = time.monotonic()
        try:
            values = measure(self.case, name, self.size)
        except Failed as failed:
            self.failures[name] = str(failed)
            values = None
        self.say(f"{self.case.name}: {name}: {values or self.failures[name]} ({time.monotonic() - began:.1f} s)")
        return values


def groups(ours: str, peers: list[str]) -> list[list[str]]:
    """Peers by twos with ours between them, so that it is the neighbour of both."""
    return [[*peers[n : n + 1], ours, *peers[n + 1 : n + 2]] for n in range(0, len(peers), 2)]
