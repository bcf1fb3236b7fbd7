"""Settings come from the environment; slots are the cpus that this process may use."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from plait import _config


def test_slots_can_be_set():
    assert _config.slots({"PLAIT_SLOTS": "3"}) == 3


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5"])
def test_nonsense_slots_are_refused(text):
    with pytest.raises(ValueError, match="PLAIT_SLOTS"):
        _config.slots({"PLAIT_SLOTS": text})


def test_slots_follow_the_affinity():
    code = """
import os
from plait import _config
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
print(_config.slots({}))
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout == "1\n"


def test_executors_get_each_entry_of_the_path_that_can_lead_to_a_module(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    odd = os.fsdecode(b"/n\xff")
    monkeypatch.setattr(
        sys, "path", ["", "/one/", odd, b"/bytes", None, tmp_path, "nul\0", "lone\ud800", "two/../three"]
    )
    assert _config.launch()[2] == [str(tmp_path), "/one", odd, str(tmp_path / "three")]


def test_a_working_directory_that_is_gone_leads_to_no_module(monkeypatch, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    monkeypatch.setattr(sys, "path", ["", "here", "/one"])
    gone.rmdir()
    assert _config.launch()[2] == ["/one"]


def test_the_tightest_quota_of_either_version_counts(tmp_path):
    membership = tmp_path / "membership"
    membership.write_text("4:cpu,cpuacct:/a/b\n0::/x/y\n")
    (tmp_path / "cpu/a/b").mkdir(parents=True)
    (tmp_path / "x/y").mkdir(parents=True)
    (tmp_path / "cpu/a/cpu.cfs_quota_us").write_text("-1\n")
    (tmp_path / "cpu/a/cpu.cfs_period_us").write_text("100000\n")
    (tmp_path / "x/cpu.max").write_text("max 100000\n")
    assert _config._quota(str(membership), str(tmp_path)) == os.cpu_count()
    (tmp_path / "x/y/cpu.max").write_text("150000 100000\n")
    assert _config._quota(str(membership), str(tmp_path)) == min(2, os.cpu_count() or 1)
    (tmp_path / "cpu/a/b/cpu.cfs_quota_us").write_text("50000\n")
    (tmp_path / "cpu/a/b/cpu.cfs_period_us").write_text("100000\n")
    assert _config._quota(str(membership), str(tmp_path)) == 1


def test_executors_get_the_flags_of_this_interpreter():
    code = "from plait import _config; print(_config.interpreter_flags())"
    command = [sys.executable, "-O", "-X", "utf8", "-W", "error", "-c", code]
    flags = subprocess.run(command, capture_output=True, check=True, text=True, env={}).stdout
    assert flags.strip() == "['-O', '-Werror', '-X', 'utf8']"


def test_empty_settings_count_as_unset():
    assert _config.address({"PLAIT_ADDRESS": " "}) is None
    assert _config.home({"PLAIT_HOME": ""}).endswith(".config/plait/default")
    assert _config.home({"PLAIT_HOME": "/keys"}) == "/keys"


def test_progress_can_be_switched_off():
    assert _config.progress_allowed({})
    assert not _config.progress_allowed({"PLAIT_PROGRESS": "0"})


def test_an_address_is_a_line_or_a_file_with_one(tmp_path):
    assert _config.read_address("plait1c-A-B-C@h:1") == "plait1c-A-B-C@h:1"
    file = tmp_path / "client.join"
    file.write_text("plait1c-A-B-C@h:1\n")
    assert _config.read_address(str(file)) == "plait1c-A-B-C@h:1"


def test_a_file_that_is_no_text_holds_no_address(tmp_path):
    (tmp_path / "line").write_bytes(b"\xd0\xff")
    with pytest.raises(OSError, match="no text file"):
        _config.read_address(str(tmp_path / "line"))
