"""The command line: `plait demo`, `coordinator`, `worker`, `status`.

Each verb has a file of its own, loaded when it is asked for. Exit codes, the same for all: 0 ok, 1 a task failed,
2 usage, 3 no cluster, 4 authentication, 5 timeout.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
from collections.abc import Callable
from typing import NoReturn

import click

from plait import _config
from plait._errors import AuthError, ConnectError, CoordinatorLost, PlaitError, VersionMismatch

#: The last of the standard streams.
STDERR = 2
#: Where each verb lives, and what the list of verbs says about it.
VERBS = {
    "demo": "the main job on this machine: real input, a progress bar, the result, the speed-up",
    "coordinator": "starts a coordinator and prints the join lines",
    "worker": "joins a coordinator and runs its sub-tasks",
    "status": "shows the workers and what they do",
}


class Verbs(click.Group):
    """A group that loads a verb's module only when that verb is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the verbs, in the order in which a newcomer needs them."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one verb."""
        if cmd_name not in VERBS:
            return None
        command = importlib.import_module(f"plait.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.command(cls=Verbs)
@click.version_option(package_name="plait")
def verbs() -> None:
    """Distributed computing for Python with a Rust core."""


def run_until_told(run: Callable[[], None]) -> None:
    """Run something native that takes Ctrl-C, and SIGTERM likewise, as the wish to end in order.

    One that comes when it has ended already, because its peer was told too, changes nothing any more.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        run()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


def fail(message: str, code: int) -> NoReturn:
    """End the program with one line that says what is wrong and what to do."""
    click.echo(f"plait: {message}", err=True)
    raise SystemExit(code)


def slots_here() -> int:
    """Tell how many tasks run at once where the command line does not; ends the program if `PLAIT_SLOTS` is wrong."""
    try:
        return _config.slots()
    except ValueError as error:
        fail(str(error), 2)


def code_of(error: PlaitError) -> int:
    """Tell which exit code an error of plait's own has."""
    if isinstance(error, AuthError):
        return 4
    if isinstance(error, (ConnectError, VersionMismatch, CoordinatorLost)):
        return 3
    return 1


def _open_streams() -> None:
    """Open the standard streams that are closed, or what is opened next would be in their place and written to."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        os.set_inheritable(fd, True)
    os.close(fd)


def main() -> None:
    """Run the program `plait`."""
    _open_streams()
    try:
        verbs.main(prog_name="plait", standalone_mode=True)
    except PlaitError as error:
        fail(str(error), code_of(error))
