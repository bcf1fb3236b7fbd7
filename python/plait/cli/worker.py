"""`plait worker`: lends this machine's cpus to a coordinator."""

from __future__ import annotations

import os
import sys

import click

from plait import _config, _native
from plait.cli import lines, run_until_told, slots_here

#: The largest amount of a named resource.
MOST = 1e12


@click.command("worker")
@click.argument("line", required=False)
@click.option(
    "--slots", type=click.IntRange(min=1), metavar="N", help="Tasks at once; the cpus of this process if not given."
)
@click.option(
    "--resource", "resources", multiple=True, metavar="NAME=AMOUNT", help="A named resource; may be repeated."
)
def command(line: str | None, slots: int | None, resources: tuple[str, ...]) -> None:
    """Join a coordinator and run its sub-tasks.

    LINE is the join line that `plait coordinator` prints; `-` reads it from stdin; without it PLAIT_ADDRESS counts,
    then the key file that a coordinator on the same home directory wrote. SIGTERM drains: what has not begun goes back
    at once, what runs gets 30 seconds, and large results that are nowhere else go to other workers. A second SIGTERM
    ends the worker now.

    It tries for a minute to reach its coordinator, and says so after two seconds. One that it loses it looks for until
    it is back; one that is stopped in order (Ctrl-C, SIGTERM) sends its workers away: they leave with exit code 0.
    """
    amounts = [_resource(text) for text in resources]
    if line is not None and line != "-":
        _hide(line)
    join_line = lines.worker_line(line)
    name = f"{os.uname().nodename}:{os.getpid()}"
    count = slots or slots_here()
    run_until_told(lambda: _native.run_worker(join_line, count, amounts, _config.launch(), name))


def _resource(text: str) -> tuple[str, int]:
    """Read a name and its amount, in ten-thousandths."""
    name, equals, amount = text.partition("=")
    try:
        value = float(amount)
    except ValueError:
        value = -1.0
    if not (name and equals and 0 < value < MOST):
        raise click.BadParameter(f"{text!r} is no NAME=AMOUNT with an amount above 0", param_hint="--resource")
    return name, round(value * 10_000)


def _hide(line: str) -> None:
    """Start this program again with the line in a pipe: arguments are shown to everybody by `ps`."""
    reader, writer = os.pipe()
    os.write(writer, line.encode() + b"\n")
    os.close(writer)
    os.dup2(reader, 0)
    os.close(reader)
    arguments = ["-" if argument == line else argument for argument in sys.orig_argv[1:]]
    os.execv(sys.executable, [sys.orig_argv[0], *arguments])
