"""Hosts with a network between them that can really lose what they send: Linux network namespaces around a router.

A namespace lives as long as its descriptor in this process: nothing is left behind, however the tests end, and nothing
of the machine's own network is touched.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

#: `unshare` and `setns`: a network namespace.
CLONE_NEWNET = 0x40000000
#: The kernel's word on the namespace of the calling thread.
CURRENT = "/proc/thread-self/ns/net"


class Unavailable(Exception):
    """This machine does not let us make networks; the text says why."""


def _ip(*arguments: str) -> None:
    """Run `ip` in the namespace of this thread."""
    try:
        subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise Unavailable("there is no program `ip` (iproute2)") from None
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"`ip {' '.join(arguments)}` says: {error.stderr.strip()}") from None


@contextlib.contextmanager
def _opened() -> Iterator[int]:
    """Hold on to the namespace that this thread is in."""
    fd = os.open(CURRENT, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


class Namespace:
    """A network of its own; processes and threads that are started inside belong to it."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        with _opened() as home:
            if self._libc.unshare(CLONE_NEWNET) != 0:
                raise Unavailable(f"the kernel makes no network namespace: {os.strerror(ctypes.get_errno())}")
            self.fd = os.open(CURRENT, os.O_RDONLY | os.O_CLOEXEC)
            self._enter(home)

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Let this thread be inside."""
        with _opened() as home:
            self._enter(self.fd)
            try:
                yield
            finally:
                self._enter(home)

    def _enter(self, fd: int) -> None:
        if self._libc.setns(fd, CLONE_NEWNET) != 0:
            raise Unavailable(f"the kernel lets nobody into a namespace: {os.strerror(ctypes.get_errno())}")

    def close(self) -> None:
        os.close(self.fd)


class Host(Namespace):
    """A machine on the network."""

    def __init__(self, router: Namespace, number: int) -> None:
        super().__init__()
        self._router = router
        self.address = f"198.18.{number}.2"
        gateway, port = f"198.18.{number}.1", f"host{number}"
        with router.inside():
            _ip(
                "link",
                "add",
                port,
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "netns",
                f"/proc/{os.getpid()}/fd/{self.fd}",
            )
            _ip("addr", "add", f"{gateway}/24", "dev", port)
            _ip("link", "set", port, "up")
        with self.inside():
            _ip("link", "set", "lo", "up")
            _ip("addr", "add", f"{self.address}/24", "dev", "eth0")
            _ip("link", "set", "eth0", "up")
            _ip("route", "add", "default", "via", gateway)

    def shun(self, other: Host) -> None:
        """Lose on the way what it and another host send each other."""
        with self._router.inside():
            for one, two in ((self, other), (other, self)):
                _ip("rule", "add", "from", one.address, "to", two.address, "blackhole")

    def mute(self) -> None:
        """Lose on the way what it sends: nobody is told, no connection is closed."""
        self._rule("add", "from")

    def deafen(self) -> None:
        """Lose on the way what is sent to it."""
        self._rule("add", "to")

    def unmute(self) -> None:
        self._rule("del", "from")

    def undeafen(self) -> None:
        self._rule("del", "to")

    def _rule(self, change: str, direction: str) -> None:
        with self._router.inside():
            _ip("rule", change, direction, self.address, "blackhole")


class Network:
    """A router and the hosts around it.

    Raises:
        Unavailable: If anything that this takes cannot be had here.
    """

    def __init__(self) -> None:
        self._hosts: list[Host] = []
        self._router = Namespace()
        try:
            with self._router.inside():
                # This file belongs to the namespace of the thread that opens it.
                Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
            self.centre = self.host()
            self.centre.mute()
            self.centre.unmute()
        except OSError as error:
            self.close()
            raise Unavailable(str(error)) from None
        except Unavailable:
            self.close()
            raise

    def host(self) -> Host:
        self._hosts.append(Host(self._router, len(self._hosts)))
        return self._hosts[-1]

    def close(self) -> None:
        for namespace in (*self._hosts, self._router):
            namespace.close()
