"""Every CPython that the one wheel must work on: found, given a virtual environment each, with the wheel installed."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
#: What an interpreter says of itself if it can be used: its version and where it really is.
ASK = (
    "import sys, venv, ensurepip, sysconfig; v = sys.version_info;"
    "ok = v >= (3, 11) and sys.implementation.name == 'cpython' and not sysconfig.get_config_var('Py_GIL_DISABLED');"
    "print(f'{v[0]}.{v[1]}', sys.executable) if ok else sys.exit(1)"
)


@functools.cache
def found() -> dict[str, str]:
    """The interpreters of this machine by minor version: this one, then those on PATH and pyenv's."""
    names = [f"python3.{minor}" for minor in range(11, 20)]
    candidates = [sys.executable, *filter(None, map(shutil.which, names))]
    candidates += [str(path) for path in sorted(Path.home().glob(".pyenv/versions/3.*/bin/python"))]
    versions: dict[str, str] = {}
    for candidate in candidates:
        answer = subprocess.run([candidate, "-c", ASK], capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            version, path = answer.stdout.split(maxsplit=1)
            versions.setdefault(version, path.strip())
    return versions


def wheel() -> Path:
    """The wheel that is being tested."""
    [path] = (ROOT / "dist").glob("*.whl")
    return path


def environment(version: str) -> Path:
    """Make a virtual environment with the wheel in it, unless it is there; where its programs are."""
    home = Path(sys.prefix) / "interpreters" / version
    stamp, programs, built = home / "stamp", home / "bin", str(wheel().stat().st_mtime_ns)
    if stamp.exists() and stamp.read_text() == built:
        return programs
    shutil.rmtree(home, ignore_errors=True)
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    for command in (
        [found()[version], "-m", "venv", str(home)],
        [str(programs / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(wheel())],
    ):
        subprocess.run(command, check=True, env=clean)
    stamp.write_text(built)
    return programs
