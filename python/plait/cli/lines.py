"""Where a join line comes from: given, on stdin, in PLAIT_ADDRESS, or in the key file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from plait import _config, _native
from plait._errors import ConnectError

HELP = "start one with `plait coordinator`, then set PLAIT_ADDRESS to the join line that it prints"


def worker_line(given: str | None) -> str:
    """Find the line of a worker.

    Args:
        given: A line; `-` for the first line of stdin; None for PLAIT_ADDRESS, then the key file.

    Raises:
        ConnectError: When there is none, or none that can be trusted.
    """
    if given == "-":
        line = sys.stdin.readline().strip()
        if not line:
            raise ConnectError("stdin has no join line: give the one that `plait coordinator` prints for workers")
        return line
    return given or _address() or _key_file("worker")


def client_line() -> str:
    """Find the line of a client: PLAIT_ADDRESS, then the key file.

    Raises:
        ConnectError: When there is none, or none that can be trusted.
    """
    return _address() or _key_file("client")


def _address() -> str | None:
    """PLAIT_ADDRESS: a line, or the file that holds one."""
    address = _config.address()
    if address is None:
        return None
    try:
        return _config.read_address(address)
    except OSError as error:
        raise ConnectError(f"PLAIT_ADDRESS is neither a join line nor a readable file: {error}") from None


def _key_file(role: Literal["worker", "client"]) -> str:
    """The key file's line; one that somebody else could have put there is refused."""
    home = _config.home()
    line = _native.read_join_file(home, role)
    if line is None:
        raise ConnectError(f"no coordinator is known here (no PLAIT_ADDRESS, no {Path(home, role)}.join): {HELP}")
    return line
