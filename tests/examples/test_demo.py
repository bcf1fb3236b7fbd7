"""`plait demo` on a small folder, on none, on an empty one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import rig

EMBEDDED = {"PLAIT_ADDRESS": ""}


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    with rig.nothing_left():
        yield


def test_the_demo_reports_compares_and_says_so() -> None:
    said = rig.plait("demo", "--input", str(rig.ROOT / "python"), env=EMBEDDED).succeeds()
    files = len([*(rig.ROOT / "python").rglob("*.py")])
    assert f"a census of {files} Python source files" in said
    assert re.search(rf"files +{files}\n", said)
    assert "files that do not parse: 0" in said
    assert re.search(r"all cores, with plait +\d+\.\d\d s\n", said)
    assert re.search(r"one core, in plain Python +\d+\.\d\d s", said)
    assert "both results are equal" in said


def test_files_that_do_not_parse_are_counted_and_listed(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text("x = 1\n")
    (tmp_path / "bad.py").write_text("x = = 1\n")
    said = rig.plait("demo", "--input", str(tmp_path), env=EMBEDDED).succeeds()
    assert "files that do not parse: 1" in said
    assert "bad.py" in said


def test_an_empty_or_missing_folder_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("no Python")
    for folder, words in ((tmp_path, "no Python source files"), (tmp_path / "missing", "no folder")):
        demo = rig.plait("demo", "--input", str(folder), env=EMBEDDED)
        assert demo.ends() == 2, demo.story()
        assert words in demo.err[-1], demo.story()
        assert str(folder) in demo.err[-1]
        assert not any("Traceback" in line for line in demo.err)


def test_help_lists_the_verbs() -> None:
    said = rig.plait("--help").succeeds()
    assert all(verb in said for verb in ("demo", "coordinator", "worker", "status"))
    for verb in ("demo", "coordinator", "worker", "status"):
        assert "--help" in rig.plait(verb, "--help").succeeds()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["worker", "--slots", "0"], "--slots"),
        (["worker", "--resource", "gpu"], "NAME=AMOUNT"),
        (["worker", "--resource", "gpu=-1"], "NAME=AMOUNT"),
        (["nonsense"], "nonsense"),
        (["coordinator", "--journal", "x"], "--journal"),
    ],
)
def test_bad_usage_is_exit_code_2(arguments: list[str], words: str) -> None:
    program = rig.plait(*arguments, env=EMBEDDED)
    assert program.ends() == 2, program.story()
    assert words in "\n".join(program.err)


@pytest.mark.parametrize("arguments", [["demo"], ["worker", "plait1w-x@127.0.0.1:1"]])
def test_a_wrong_number_of_slots_in_the_environment_is_one_line_and_exit_code_2(arguments: list[str]) -> None:
    program = rig.plait(*arguments, env=EMBEDDED | {"PLAIT_SLOTS": "x"})
    assert program.ends() == 2, program.story()
    assert (program.out, program.err) == ([], ["plait: PLAIT_SLOTS must be a whole number above 0, not 'x'"])
