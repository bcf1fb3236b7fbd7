"""Settings from the environment and facts about this machine, by the names that `config.rs` uses."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: Chunks on the way for each slot, where plait sizes the window of a `map`.
WINDOW_PER_SLOT = 4
#: Bytes of arguments on the way in such a window.
WINDOW_BYTES = 64 << 20
#: Seconds for which the first chunk of such a window may hold up the others: from then on more are sent in the place of
#: those behind it that are over …
HELD_UP_SECONDS = 0.02
#: … until there are so many for each slot, so that chunks of `CHUNK_SECONDS` keep the others busy for some seconds.
HELD_UP_PER_SLOT = 512
#: The same at the least in a run that returns a list: its results are kept anyway.
RUN_WINDOW = 4_096
#: A chunk that plait sizes is this much work, in seconds: a thousand times what a message costs.
CHUNK_SECONDS = 0.01
#: Towards the end chunks shrink to this much, in seconds: to end together even more exactly is not worth messages.
CHUNK_LEAST_SECONDS = 0.0005
#: To read its items from their source should take no longer than this, in seconds: results wait meanwhile.
CHUNK_READ_SECONDS = 0.01
#: Where it takes longer than this to read a whole window, in seconds, what is over is passed on before more is read.
WINDOW_READ_SECONDS = 0.05
#: The next chunk has at most so many times the items of the largest one measured.
CHUNK_GROWTH = 8
#: Most items of a chunk that plait sizes: small objects, their pickles and results then fit into a processor's cache.
CHUNK_ITEMS = 1 << 14
#: Bytes of the arguments, or of the results, that such a chunk should not exceed.
CHUNK_BYTES = 1 << 20
#: A chunk that fails as such is sent again in so many parts, until it is clear which item it was. So is what one gives
#: back that takes long.
CHUNK_PARTS = 16
#: Pieces of a run on the way for each slot, once their size follows what they cost: more would have that of long ago.
PIECES_PER_SLOT = 16
#: Function objects whose pickles are remembered while they live; the oldest is forgotten first.
FUNCTIONS_KEPT = 1_024
#: Pickles made lately that are found again if another object gives the same; the oldest is forgotten first.
FUNCTIONS_RECENT = 64
#: The same in bytes; the newest stays whatever its size.
FUNCTIONS_RECENT_BYTES = 64 << 20
#: How long `workers()` waits for the coordinator's answer, in seconds.
STATUS_TIMEOUT_SECONDS = 10.0
#: How long a closed client may take to end its executors, in seconds.
SHUTDOWN_TIMEOUT_SECONDS = 10.0
#: How often a progress bar is redrawn at the most, in seconds.
PROGRESS_SECONDS = 0.1
#: How long a dispatcher without work waits for more before it ends, in seconds.
DISPATCHER_IDLE_SECONDS = 0.5


def address(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return `PLAIT_ADDRESS`: a join line, or a file that holds one; None if unset or empty."""
    return environment.get("PLAIT_ADDRESS", "").strip() or None


def home(environment: Mapping[str, str] = os.environ) -> str:
    """Return `PLAIT_HOME`: where keys and join files are kept."""
    return environment.get("PLAIT_HOME") or os.path.join(os.path.expanduser("~"), ".config/plait/default")


def progress_allowed(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether `PLAIT_PROGRESS` leaves progress bars on."""
    return environment.get("PLAIT_PROGRESS", "") != "0"


def slots(environment: Mapping[str, str] = os.environ) -> int:
    """Return `PLAIT_SLOTS`, else the cpus this process may use: affinity and cgroup quota; at least 1.

    Raises:
        ValueError: If `PLAIT_SLOTS` is no whole number above 0.
    """
    text = environment.get("PLAIT_SLOTS", "").strip()
    if not text:
        return max(1, min(len(os.sched_getaffinity(0)), _quota("/proc/self/cgroup", "/sys/fs/cgroup")))
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"PLAIT_SLOTS must be a whole number above 0, not {text!r}")
    return int(text)


def launch() -> tuple[str, list[str], list[str]]:
    """Return how an executor is started: the interpreter, this one's flags, and its `sys.path`."""
    return sys.executable, interpreter_flags(), [place for entry in sys.path for place in _places(entry)]


def _places(entry: object) -> Iterator[str]:
    """Yield where an entry of `sys.path` is, wherever an executor is; nothing for what can lead to no module."""
    if isinstance(entry, str) and "\0" not in entry:  # the import system passes over what is no `str`
        try:
            place = os.path.abspath(entry)
            os.fsencode(place)
        except (OSError, UnicodeEncodeError):
            return  # relative to a working directory that is gone, or no name for a file
        yield place


#: `sys.flags` that change what code means, with the option that sets each.
_FLAGS = {
    "optimize": "-O",
    "dont_write_bytecode": "-B",
    "no_site": "-S",
    "bytes_warning": "-b",
    "isolated": "-I",
    "ignore_environment": "-E",
    "no_user_site": "-s",
}
#: `-X` options that change what code means.
_X_OPTIONS = ("dev", "faulthandler", "tracemalloc", "utf8", "int_max_str_digits", "frozen_modules")


def interpreter_flags() -> list[str]:
    """Return the flags that give another interpreter the settings of this one.

    What `subprocess` knows of this takes 20 ms to import.
    """
    flags = [option for name, option in _FLAGS.items() for _ in range(int(getattr(sys.flags, name)))]
    flags += [f"-W{option}" for option in sys.warnoptions]
    for name, value in sys._xoptions.items():
        if name in _X_OPTIONS:
            flags += ["-X", name if value is True else f"{name}={value}"]
    return flags


def read_address(given: str) -> str:
    """Return a join line: the given one, or the one in the given file.

    Raises:
        OSError: If it is neither; a FileNotFoundError if there is no such file.
    """
    if given.startswith("plait1"):
        return given
    try:
        with open(given, encoding="utf-8") as file:
            return file.read(4096).strip()
    except ValueError as error:
        raise OSError(f"{given!r} is no text file: {error}") from None


def _quota(membership: str, root: str) -> int:
    """Return how many cpus this process's cgroups allow, rounded up; the machine's if there is no quota."""
    limits = [os.cpu_count() or 1]
    for line in _lines(membership):
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        folder = f"{root}/cpu" if controllers else root
        parts = [part for part in path.split("/") if part]
        for depth in range(len(parts), -1, -1):
            group = "/".join([folder, *parts[:depth]])
            limits += _cpus_of(group, unified=not controllers)
    return min(limits)


def _cpus_of(group: str, *, unified: bool) -> list[int]:
    """Return the quota of one cgroup in cpus, rounded up, or nothing."""
    if unified:
        words = " ".join(_lines(f"{group}/cpu.max")).split()
    else:
        words = [*_lines(f"{group}/cpu.cfs_quota_us"), *_lines(f"{group}/cpu.cfs_period_us")]
    if len(words) != 2 or not all(word.isdecimal() for word in words) or int(words[1]) == 0:
        return []
    return [max(1, -(-int(words[0]) // int(words[1])))]


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(65536).split("\n")[:-1]
    except OSError:
        return []
