"""What tests with real processes stand on: programs, conditions, a proxy to cut, a check of leftovers."""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

# Whoever starts the tests in the background of a shell ignores Ctrl-C, and what they start would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

T = TypeVar("T")

ROOT = Path(__file__).parent.parent
#: How long a test waits for what must happen: generous, since machines are shared.
PATIENCE = 60.0
#: `prctl` option: orphans of our children become ours, so that none can hide.
PR_SET_CHILD_SUBREAPER = 36
#: The state of a listening socket in /proc/net/tcp.
LISTEN = "0A"


def eventually(condition: Callable[[], T | None], what: str, patience: float = PATIENCE) -> T:
    """Wait until `condition` holds, and return what it returned."""
    deadline = time.monotonic() + patience
    while True:
        if found := condition():
            return found
        assert time.monotonic() < deadline, f"not within {patience:.0f} s: {what}"
        threading.Event().wait(0.02)


class Program:
    """A process that a test started, with its output read as it comes."""

    def __init__(
        self,
        *arguments: str | Path,
        env: dict[str, str] | None = None,
        stdin: str | None = None,
        stderr: int = subprocess.PIPE,
    ) -> None:
        self.process = subprocess.Popen(
            [str(argument) for argument in arguments],
            env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT}/tests", "PYTHONUNBUFFERED": "1"} | (env or {}),
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        if stdin is not None:
            assert self.process.stdin is not None
            self.process.stdin.write(stdin)
            self.process.stdin.close()
        self.out: list[str] = []
        self.err: list[str] = []
        self._news: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._readers = [
            threading.Thread(target=self._read, args=(stream, lines), daemon=True)
            for stream, lines in ((self.process.stdout, self.out), (self.process.stderr, self.err))
            if stream
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: Any, lines: list[str]) -> None:
        for line in stream:
            lines.append(line.rstrip("\n"))
            self._news.put(None)
        stream.close()

    @property
    def pid(self) -> int:
        return self.process.pid

    def says(self, pattern: str) -> re.Match[str]:
        """Wait for a line of stdout that matches."""

        def found() -> re.Match[str] | None:
            if self.process.poll() is not None:
                for reader in self._readers:
                    reader.join(PATIENCE)
            hit = next((hit for line in list(self.out) if (hit := re.search(pattern, line))), None)
            assert hit or self.process.poll() is None, f"ended without saying {pattern!r}: {self.story()}"
            return hit

        return eventually(found, f"{pattern!r} on stdout")

    def ends(self, patience: float = PATIENCE) -> int:
        """Wait for the end; the exit code."""
        try:
            code = self.process.wait(patience)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"not ended within {patience:.0f} s: {self.story()}") from None
        for reader in self._readers:
            reader.join(PATIENCE)
        return code

    def succeeds(self, patience: float = PATIENCE) -> str:
        """Wait for a good end without a word on stderr; what was said on stdout."""
        assert self.ends(patience) == 0, self.story()
        assert not self.err, self.story()
        return "\n".join(self.out)

    def story(self) -> str:
        return f"{self.process.args!r} -> {self.process.returncode}\n" + "\n".join([*self.out, "--", *self.err])

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self) -> None:
        """Take it out of the way, whatever state it is in."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)


def plait(
    *arguments: str, env: dict[str, str] | None = None, stdin: str | None = None, stderr: int = subprocess.PIPE
) -> Program:
    """Start the program `plait`, as installed."""
    return Program(Path(sys.executable).parent / "plait", *arguments, env=env, stdin=stdin, stderr=stderr)


def python(code: str, *arguments: str, env: dict[str, str] | None = None, stderr: int = subprocess.PIPE) -> Program:
    """Start a script given as text."""
    return Program(sys.executable, "-c", code, *arguments, env=env, stderr=stderr)


class Cluster:
    """A coordinator with workers, as a user starts them, on a free port (of loopback) and in a home of their own."""

    def __init__(self, home: Path, host: str = "127.0.0.1", stderr: int = subprocess.PIPE) -> None:
        self.home = home
        self.env = {"PLAIT_HOME": str(home), "PLAIT_ADDRESS": ""}
        self.programs: list[Program] = []
        self.coordinator = self.start("coordinator", "--bind", f"{host}:0", stderr=stderr)
        self.worker_line = self.coordinator.says(r"plait worker (plait1w-\S+)")[1]
        self.client_line = self.coordinator.says(r'plait\.Client\("(plait1c-\S+)"\)')[1]
        self.port = int(self.client_line.rpartition(":")[2])

    def start(
        self,
        *arguments: str,
        env: dict[str, str] | None = None,
        stdin: str | None = None,
        stderr: int = subprocess.PIPE,
    ) -> Program:
        program = plait(*arguments, env=self.env | (env or {}), stdin=stdin, stderr=stderr)
        self.programs.append(program)
        return program

    def worker(self, *arguments: str, slots: int = 1, stderr: int = subprocess.PIPE) -> Program:
        """Start a worker; it finds its line in the key file."""
        return self.start("worker", "--slots", str(slots), *arguments, stderr=stderr)

    def python(self, code: str, *arguments: str) -> Program:
        """Start a client script on this cluster."""
        program = python(code, *arguments, env=self.env | {"PLAIT_ADDRESS": self.client_line})
        self.programs.append(program)
        return program

    def stop(self) -> None:
        for program in reversed(self.programs):
            program.stop()


class Proxy:
    """Stands between a peer and the coordinator; can cut, freeze and refuse."""

    def __init__(self, port: int) -> None:
        self.target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        #: Held so that no connection is let in while all are cut.
        self._cutting = threading.Lock()
        self._open = threading.Event()
        self._flowing = threading.Event()
        self._open.set()
        self._flowing.set()
        self.accepted = 0
        #: Bytes that went through, in both directions.
        self.passed = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def line(self, line: str) -> str:
        """The same join line, by way of this proxy."""
        return f"{line.partition('@')[0]}@127.0.0.1:{self.port}"

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            with self._cutting:
                if not self._open.is_set():
                    near.close()
                    continue
                far = socket.create_connection(("127.0.0.1", self.target))
                self._pairs.append((near, far))
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                self._flowing.wait()
                sink.sendall(data)
                self.passed += len(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """Close every connection and refuse new ones."""
        with self._cutting:
            self._open.clear()
            self._drop()

    def heal(self) -> None:
        self._open.set()
        self._flowing.set()

    def freeze(self) -> None:
        """Let nothing through, and close nothing: a cable pulled out."""
        self._flowing.clear()

    def _drop(self) -> None:
        for pair in self._pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()
        self._pairs.clear()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._flowing.set()
        self._drop()


def adopt_orphans() -> None:
    """Become the parent of every process whose own parent ends, so that `leftovers` sees it."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0


def alive(pid: int) -> bool:
    """Whether this process is there, and more than a zombie that nobody has taken in."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def children(pid: int) -> list[int]:
    """Living processes whose parent is `pid`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) == pid and fields[0] != "Z":
                    found.append(int(entry.name))
    return found


def descendants(pid: int) -> list[int]:
    """Living processes below `pid`, nearest first."""
    found = children(pid)
    return found + [deeper for child in found for deeper in descendants(child)]


def named(pids: list[int]) -> list[str]:
    """The processes with their command lines, for people."""
    names = []
    for pid in pids:
        with contextlib.suppress(OSError):
            names.append(f"{pid}: {Path(f'/proc/{pid}/cmdline').read_text().replace(chr(0), ' ')}")
    return names


def reap() -> None:
    """Take in adopted orphans that have ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def listening() -> list[int]:
    """Ports on which this process listens."""
    inodes = set()
    for fd in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            target = os.readlink(fd)
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    ports = []
    for table in ("/proc/self/net/tcp", "/proc/self/net/tcp6"):
        with contextlib.suppress(FileNotFoundError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTEN and fields[9] in inodes:
                    ports.append(int(fields[1].rpartition(":")[2], 16))
    return ports


def sockets_and_memory() -> int:
    """How many sockets, memory files and process handles this process holds."""
    kinds = ("socket:", "/memfd:", "anon_inode:[pidfd]")
    count = 0
    for fd in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            count += os.readlink(fd).startswith(kinds)
    return count


@contextlib.contextmanager
def nothing_left(patience: float = 20.0) -> Iterator[None]:
    """Check that no process, port, socket or memory file stays behind."""
    adopt_orphans()
    before, open_before = set(descendants(os.getpid())), sockets_and_memory()
    yield

    def gone() -> bool:
        return not set(descendants(os.getpid())) - before

    try:
        eventually(gone, "no process is left", patience)
    except AssertionError:
        left = named(sorted(set(descendants(os.getpid())) - before))
        for line in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(line.partition(":")[0]), signal.SIGKILL)
        raise AssertionError(f"processes left behind: {left}") from None
    finally:
        reap()
    eventually(lambda: not listening(), f"no port is left open: {listening()}", patience)
    eventually(lambda: sockets_and_memory() <= open_before, "no socket or memory file is left open", patience)
