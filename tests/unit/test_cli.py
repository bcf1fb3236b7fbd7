"""The command line's own small parts."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: Is told to end at one point or another of something that runs natively.
TOLD = """
import os, signal, sys
from plait.cli import run_until_told

def tell():
    os.kill(os.getpid(), getattr(signal, sys.argv[1]))

def run():
    if sys.argv[2] == "within":
        tell()
    print("ended")

run_until_told(run)
if sys.argv[2] == "behind":
    tell()
print("over")
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize(("place", "said"), [("within", ["over"]), ("behind", ["ended", "over"])])
def test_to_be_told_late_changes_nothing(name: str, place: str, said: list[str]) -> None:
    """What runs natively hears a signal itself: one that Python hears has come too late."""
    ended = subprocess.run([sys.executable, "-c", TOLD, name, place], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout.split(), ended.stderr) == (0, said, "")
