"""Where a run is made, for whoever reads its figures. `python -m bench.place` says what a wheel is made from."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import sys
from pathlib import Path

from bench import systems
from bench.record import Place

#: Where `make` notes what the installed wheel was made from.
WHEEL = Path(sys.prefix, "stamps", "wheel")
#: What the wheel is made of.
SOURCES = ("Cargo.toml", "Cargo.lock", "core/src", "src", "python")


def here(pairs: int, names: list[str]) -> Place:
    """Describe this machine, interpreter and commit, and the versions of whom we measure."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    kernel = ".".join(platform.release().split(".")[:2])
    return Place(
        machine=f"{cpu()}, {os.cpu_count()} cpus, {memory:.0f} GiB, Linux {kernel}",
        cpython=platform.python_version(),
        commit=built_from(),
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


def built_from() -> str:
    """The commit that the installed wheel was made from, as `make` noted it then; the tree may have moved on since."""
    try:
        return WHEEL.read_text().strip() or "unknown"
    except OSError:
        return "unknown"


def commit() -> str:
    """The last commit of what the wheel is made of, and whether that was changed; nothing where there is no git."""
    changes = git("status", "--porcelain", "--", *SOURCES)
    return git("log", "-1", "--format=%h", "--", *SOURCES) + ("+changes" if changes else "")


def git(*arguments: str) -> str:
    """Ask git; nothing where there is none."""
    try:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


if __name__ == "__main__":
    sys.stdout.write(f"{commit()}\n")
