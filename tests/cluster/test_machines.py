"""Machines that lack something: a system call, standard streams, a key folder that only its owner may change."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import signal
import sys
from pathlib import Path

import pytest

import plait
import rig

#: Runs a program that the kernel refuses a system call, with an error; what it starts, too.
WITHOUT = """
import ctypes, os, struct, sys
number, error = int(sys.argv[1]), int(sys.argv[2])
load, equal, give = 0x20, 0x15, 0x06
steps = [(load, 0, 0, 0), (equal, 0, 1, number), (give, 0, 0, 0x00050000 | error), (give, 0, 0, 0x7FFF0000)]
program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
libc = ctypes.CDLL(None, use_errno=True)
filter = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(program))
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, filter, 0, 0) == 0
os.execv(sys.argv[3], sys.argv[3:])
"""
#: The numbers of system calls here.
CALLS = {"flock": {"x86_64": 73, "aarch64": 32}.get(platform.machine()), "pidfd_open": 434}
#: Closes streams, then runs a program.
CLOSED = "import os, sys; [os.close(int(fd)) for fd in sys.argv[1]]; os.execv(sys.argv[2], sys.argv[2:])"
PLAIT = Path(sys.executable).parent / "plait"


def without(call: str, error: int, *program: str | Path) -> list[str]:
    """Return the command that runs a program without a system call."""
    number = CALLS[call]
    if number is None:
        pytest.skip(f"the number of {call} on this machine is not known here")
    return [sys.executable, "-c", WITHOUT, str(number), str(error), *map(str, program)]


def zombies(pid: int) -> int:
    count = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = stat.read_text().rpartition(") ")[2].split()[:2]
            count += state == "Z" and int(parent) == pid
    return count


@pytest.mark.parametrize("error", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_coordinator_starts_where_files_cannot_be_locked(tmp_path: Path, error: int) -> None:
    env = {"PLAIT_HOME": str(tmp_path / "home"), "PLAIT_ADDRESS": ""}
    coordinator = rig.Program(*without("flock", error, PLAIT, "coordinator", "--bind", "127.0.0.1:0"), env=env)
    try:
        line = coordinator.says(r'plait\.Client\("(plait1c-\S+)"\)')[1]
        with plait.Client(line) as client:
            assert client.workers() == []
        coordinator.send(signal.SIGTERM)
        assert coordinator.ends() == 0
        assert len(coordinator.err) == 1, coordinator.story()
        assert "cannot be locked" in coordinator.err[0]
    finally:
        coordinator.stop()


def test_executors_that_cannot_be_watched_leave_nothing_behind() -> None:
    code = "import plait; plait.Client(slots=1).submit(pow, 2, 5).result()"
    program = rig.Program(*without("pidfd_open", errno.EPERM, sys.executable, "-c", code))
    try:
        rig.eventually(lambda: program.err, "it is said that no executor can be started")
        assert "pidfd_open" in program.err[0], program.story()
        rig.eventually(lambda: not zombies(program.pid), "all are reaped")
    finally:
        program.stop()


@pytest.mark.parametrize("closed", ["0", "2", "01", "012"])
def test_a_worker_needs_no_standard_streams(cluster: rig.Cluster, closed: str) -> None:
    command = [sys.executable, "-c", CLOSED, closed, PLAIT, "worker", "--slots", "1", cluster.worker_line]
    worker = rig.Program(*command, env={"PLAIT_HOME": "/nowhere", "PLAIT_ADDRESS": ""})
    cluster.programs.append(worker)
    with plait.Client(cluster.client_line) as client:
        assert client.submit(os.getppid).result(rig.PATIENCE) == worker.pid
    worker.send(signal.SIGTERM)
    assert worker.ends() == 0, worker.story()


@pytest.mark.parametrize("verb", ["worker", "status"])
def test_a_key_file_that_others_could_have_changed_is_not_used(cluster: rig.Cluster, tmp_path: Path, verb: str) -> None:
    file = cluster.home / ("worker.join" if verb == "worker" else "client.join")

    def refused(*words: str) -> None:
        program = cluster.start(verb)
        assert program.ends() == 3, program.story()
        assert len(program.err) == 1, program.story()
        assert all(word in program.err[0] for word in (*words, str(file))), program.story()

    file.chmod(0o644)
    refused("chmod 600")
    file.chmod(0o600)
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    refused("symbolic link")
    file.unlink()
    file.write_text("nonsense\n")
    file.chmod(0o600)
    refused("join line")
