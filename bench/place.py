"""Where a run is made: what a reader must know beside a figure."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from pathlib import Path

from bench import systems
from bench.record import Place

#: What the wheel is made of.
MEASURED = ("Cargo.toml", "Cargo.lock", "core/src", "src", "python")


def here(pairs: int, names: list[str]) -> Place:
    """Describe this machine, interpreter and commit, and the versions of whom we measure."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    kernel = ".".join(platform.release().split(".")[:2])
    return Place(
        machine=f"{cpu()}, {os.cpu_count()} cpus, {memory:.0f} GiB, Linux {kernel}",
        cpython=platform.python_version(),
        commit=commit(),
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        pairs=pairs,
        versions={name: systems.version(name) for name in names},
    )


def cpu() -> str:
    """The processor's name, if the kernel tells it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def commit() -> str:
    """The last commit of what is measured, and whether it was changed since; nothing where there is no git."""
    changes = git("status", "--porcelain", "--", *MEASURED)
    return git("log", "-1", "--format=%h", "--", *MEASURED) + ("+changes" if changes else "")


def git(*arguments: str) -> str:
    """Ask git; nothing where there is none."""
    try:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
