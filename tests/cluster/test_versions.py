"""Fault row 19: the one wheel on every CPython of this machine, and two of them together."""

from __future__ import annotations

import sys

import pytest

import interpreters
import plait
import rig

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
OTHERS = sorted(set(interpreters.found()) - {HERE})
JOB = """
import operator, sys, plait
text = plait.run(str, range(1000), reduce=operator.add)
assert text == "".join(map(str, range(1000)))
with plait.Client(slots=2) as client:
    double = client.submit(lambda n: 2 * n, client.submit(pow, 2, 5))
    assert double.result() == 64
print(".".join(map(str, sys.version_info[:3])))
"""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("version", sorted(interpreters.found()))
def test_the_wheel_does_a_job_on(version: str, capsys: pytest.CaptureFixture[str]) -> None:
    programs = interpreters.environment(version)
    said = rig.Program(programs / "python", "-P", "-c", JOB, env={"PLAIT_ADDRESS": "", "PYTHONPATH": ""}).succeeds()
    with capsys.disabled():
        print(f" (CPython {said})", end="", flush=True)
    assert said.startswith(version)


@pytest.mark.timeout(600)
@pytest.mark.skipif(not OTHERS, reason="only one CPython on this machine")
def test_by_value_functions_need_the_same_python_and_others_do_not(cluster: rig.Cluster) -> None:
    programs = interpreters.environment(OTHERS[-1])
    worker = rig.Program(programs / "plait", "worker", "--slots", "1", env=cluster.env)
    cluster.programs.append(worker)
    with plait.Client(cluster.client_line) as client:
        rig.eventually(lambda: [info.python for info in client.workers()] == [OTHERS[-1]], "the other Python joins")
        assert client.submit(pow, 2, 5).result(rig.PATIENCE) == 32, "by reference: any Python will do"
        by_value = client.submit(lambda: sys.version_info[:2])
        assert client.submit(pow, 2, 6).result(rig.PATIENCE) == 64
        assert not by_value.done()
        cluster.worker()
        assert by_value.result(rig.PATIENCE) == sys.version_info[:2]


@pytest.mark.chaos
@pytest.mark.timeout(600)
@pytest.mark.skipif(not OTHERS, reason="only one CPython on this machine")
def test_a_by_value_function_that_no_python_fits_says_so(cluster: rig.Cluster) -> None:
    programs = interpreters.environment(OTHERS[-1])
    cluster.programs.append(rig.Program(programs / "plait", "worker", "--slots", "1", env=cluster.env))
    with plait.Client(cluster.client_line) as client:
        error = client.submit(lambda: 1).exception(120)
        assert isinstance(error, plait.Unschedulable)
        assert HERE in str(error)
        assert OTHERS[-1] in str(error)
