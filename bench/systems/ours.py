"""plait: embedded, and as a cluster of processes on this machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import plait
from bench.systems.base import SLOTS, OfExecutor

ROOT = Path(__file__).parent.parent.parent
#: The program, as installed.
PROGRAM = str(Path(sys.executable).parent / "plait")


class OfPlait(OfExecutor):
    """plait, embedded."""

    takes_handles = True
    finds_chunks = True
    first_result = "import plait\nwith plait.Client(slots=2) as client: client.submit(abs, -1).result(); took()"

    def __init__(self) -> None:
        self.client = self.executor()
        self.pool = self.client
        self.submit = self.client.submit

    def executor(self) -> plait.Client:
        return plait.Client(slots=SLOTS)

    def share(self, value: Any) -> Any:
        return self.client.put(value)

    def submit_fragile(self, fn: Any, /) -> Any:
        return self.client.options(crash_limit=1).submit(fn)

    def recover(self) -> None:
        """Nothing is lost but the process, and plait starts another."""


class OfPlaitCluster(OfPlait):
    """plait over TCP with TLS on loopback: a coordinator and a worker of two slots, as a user starts them."""

    first_result = ""
    #: What the environment of all three says beside what it says anyway.
    says: ClassVar[dict[str, str]] = {}

    def executor(self) -> plait.Client:
        self.home = tempfile.TemporaryDirectory(prefix="plait-bench-")
        self.programs: list[subprocess.Popen[str]] = []
        coordinator = self.start("coordinator", "--bind", "127.0.0.1:0")
        assert coordinator.stdout is not None
        line = coordinator.stdout.readline() + coordinator.stdout.readline()
        client = re.search(r"plait1c-[^\s\"]+", line)
        assert client, f"the coordinator said {line!r}"
        self.start("worker", "--slots", str(SLOTS))
        os.environ.update(self.says)
        return plait.Client(client[0])

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        # The tasks are imported there, from where they are imported here.
        paths = {"PYTHONPATH": str(ROOT), "PLAIT_HOME": self.home.name}
        env = os.environ | paths | self.says | {"PLAIT_ADDRESS": "", "PYTHONUNBUFFERED": "1"}
        program = subprocess.Popen([PROGRAM, *arguments], env=env, stdout=subprocess.PIPE, text=True)
        self.programs.append(program)
        return program

    def close(self) -> None:
        super().close()
        for program in reversed(self.programs):
            program.terminate()
        for program in self.programs:
            program.wait()
        self.home.cleanup()


class OfPlaitBytes(OfPlaitCluster):
    """The same as if each were on a machine of its own: no memory is handed over."""

    says: ClassVar[dict[str, str]] = {"PLAIT_SHARE_MEMORY": "0"}
