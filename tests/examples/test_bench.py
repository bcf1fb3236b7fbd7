"""The comparison cannot rot: every case runs on plait and the standard library's pools, with tiny counts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench import record
from bench.cases import CASES
from bench.cases.size import QUICK
from bench.systems import PLAIT, POOL, PROCESS_POOL

import rig

#: multiprocessing.Pool waits for ever for what its lost process had: that case is its own test.
HANGING = "200 × 50 ms, one process killed"
#: Ends whatever hangs within a second.
HANG = f"""
import dataclasses, os
from bench import memory, runner
from bench.cases import CASES
(case,) = [case for case in CASES if case.name == {HANGING!r}]
runner.adopt_orphans()
try:
    runner.measure(dataclasses.replace(case, limit=1.0), {POOL!r}, "quick")
except runner.Failed as failed:
    print(failed, memory.descendants(os.getpid()))
"""


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    with rig.nothing_left():
        yield


@pytest.mark.parametrize("system", [PLAIT, PROCESS_POOL, POOL])
def test_every_case_gives_its_figures(system: str, tmp_path: Path) -> None:
    cases = [case for case in CASES if system in (case.ours, *case.peers) and (system, case.name) != (POOL, HANGING)]
    answer = tmp_path / "answer"
    arguments = ["-m", "bench.child", str(answer), system, "quick", *(case.name for case in cases)]
    rig.Program(sys.executable, *arguments).succeeds()
    figures = json.loads(answer.read_text())
    assert {name: len(values) for name, values in figures.items()} == {case.name: len(case.figures) for case in cases}
    if system == PLAIT:
        assert figures[HANGING][0] == QUICK.killed_tasks


def test_a_run_leaves_a_table_and_a_record(tmp_path: Path) -> None:
    options = ["--quick", "--only", "tasks one by one", "--peers", PROCESS_POOL, "--out", str(tmp_path)]
    program = rig.Program(sys.executable, "-m", "bench", *options)
    assert program.ends() == 0, program.story()
    assert f" {PROCESS_POOL} " in "\n".join(program.out)
    (row,) = record.load(tmp_path / "record.json").rows
    assert row.ratio is not None
    assert len(row.pairs) == 1


def test_a_peer_that_hangs_is_given_up_and_nothing_of_it_stays() -> None:
    assert rig.python(HANG).succeeds() == "not within 1 s []"
