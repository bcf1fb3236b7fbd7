"""What README and examples say is run as written."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import rig

EXAMPLES = sorted(path for path in (rig.ROOT / "examples").glob("*.py") if not path.name.startswith("prototype_"))
BLOCKS = re.findall(r"```python\n(.*?)```", (rig.ROOT / "README.md").read_text(), flags=re.DOTALL)
EMBEDDED = {"PLAIT_ADDRESS": ""}


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    with rig.nothing_left():
        yield


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_as_written(path: Path) -> None:
    assert rig.Program(sys.executable, path, env=EMBEDDED).succeeds()


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_block_of_the_readme_runs_as_written(number: int, tmp_path: Path) -> None:
    script = tmp_path / "block.py"
    script.write_text(BLOCKS[number])
    assert rig.Program(sys.executable, script, env=EMBEDDED).succeeds()


def test_the_readme_has_code() -> None:
    assert BLOCKS
    assert len(EXAMPLES) >= 5


def test_the_word_count_is_right(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("one two two\nthree three three\n" * 1_000)
    answer = rig.Program(sys.executable, rig.ROOT / "examples" / "word_count.py", text, env=EMBEDDED).succeeds()
    assert [line.split() for line in answer.splitlines()] == [["3,000", "three"], ["2,000", "two"], ["1,000", "one"]]


TWICE = """
import sys, warnings
from plait.compat import DistributedServer
class Squares(DistributedServer):
    def perform_sub_task(self, n):
        return n * n
server = Squares(port=int(sys.argv[1]))
first = server.run(range(4))
print(sorted(first), flush=True)
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    print(sorted(server.run(range(4, 6))), sorted(first), len(told), "WorkerNode.run again" in str(told[0].message))
"""


def test_a_server_of_the_prototype_runs_again_with_nodes_that_join_anew(tmp_path: Path) -> None:
    env = EMBEDDED | {"PLAIT_HOME": str(tmp_path)}
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    join = f"from plait.compat import WorkerNode; WorkerNode('127.0.0.1', {port}, slots=1).run()"
    programs = [rig.python(TWICE, port, env=env)]
    try:
        programs.append(rig.python(join, env=env))
        programs[0].says(r"\[0, 1, 4, 9\]")
        programs[1].succeeds()
        programs.append(rig.python(join, env=env))
        assert programs[0].succeeds().splitlines()[-1] == "[16, 25] [0, 1, 4, 9] 1 True"
        programs[2].succeeds()
    finally:
        for program in programs:
            program.stop()


def test_the_prototype_works_in_two_scripts(tmp_path: Path) -> None:
    env = EMBEDDED | {"PLAIT_HOME": str(tmp_path)}
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    server = rig.Program(sys.executable, rig.ROOT / "examples" / "prototype_server.py", port, env=env)
    # One worker: with a second, the first may do it all, and the second would find the server gone.
    worker = rig.Program(sys.executable, rig.ROOT / "examples" / "prototype_worker.py", port, env=env)
    try:
        for program in [server, worker]:
            assert program.ends() == 0, program.story()
            # On a busy machine one may have to wait for the other long enough to say so.
            assert all("waiting for" in line or "Trying again" in line for line in program.err), program.story()
        assert server.out == [str(sum(n * n for n in range(50_000)))]
    finally:
        for program in [server, worker]:
            program.stop()
