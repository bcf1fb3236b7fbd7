"""Who must not come in: each is told why where somebody can act, and costs the others nothing."""

from __future__ import annotations

import hashlib
import os
import random
import re
import socket
import ssl
from pathlib import Path

import pytest

import plait
import rig


def still_works(cluster: rig.Cluster) -> None:
    """The cluster goes on for those who belong to it."""
    with plait.Client(cluster.client_line) as client:
        assert client.submit(pow, 2, 5).result(rig.PATIENCE) == 32


def still_works_without_workers(cluster: rig.Cluster) -> None:
    with plait.Client(cluster.client_line) as client:
        assert client.workers() == []


def refused(program: rig.Program, code: int, *words: str) -> None:
    """It ended with one line that says what is wrong."""
    assert program.ends() == code, program.story()
    assert len(program.err) == 1, program.story()
    for word in words:
        assert word in program.err[0], program.story()
    assert not re.search(r"plait1[wc]-\w+-\w+", program.err[0]), "no key in an error"


def base32(data: bytes) -> str:
    """Crockford's, as join lines are written."""
    bits = "".join(f"{byte:08b}" for byte in data)
    bits += "0" * (-len(bits) % 5)
    return "".join("0123456789abcdefghjkmnpqrstvwxyz"[int(bits[at : at + 5], 2)] for at in range(0, len(bits), 5))


def unbase32(text: str) -> bytes:
    bits = "".join(f"{'0123456789abcdefghjkmnpqrstvwxyz'.index(c):05b}" for c in text)
    return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits) // 8 * 8, 8))


def with_another_key(line: str) -> str:
    """The same line with a key that somebody made up, and the check that fits."""
    head, pin, _, rest = line.split("-", 3)
    key = bytes(range(16))
    check = base32(hashlib.sha256(head.encode() + unbase32(pin) + key).digest())[:4]
    return f"{head}-{pin}-{base32(key)}-{check}@{rest.partition('@')[2]}"


def test_a_wrong_key_is_refused_and_both_sides_say_so(cluster: rig.Cluster) -> None:
    refused(cluster.start("worker", with_another_key(cluster.worker_line)), 4, "key")
    with pytest.raises(plait.AuthError, match="key"):
        plait.Client(with_another_key(cluster.client_line))
    refused(cluster.start("status", env={"PLAIT_ADDRESS": with_another_key(cluster.client_line)}), 4, "key")
    rig.eventually(lambda: cluster.coordinator.err, "the coordinator logs who was refused")
    still_works_without_workers(cluster)


def test_a_mistyped_line_is_caught_before_any_traffic(cluster: rig.Cluster, proxy: rig.Proxy) -> None:
    line = proxy.line(cluster.worker_line)
    at = len("plait1w-") + 5
    typo = line[:at] + ("0" if line[at] != "0" else "1") + line[at + 1 :]
    refused(cluster.start("worker", typo), 3, "mistyped")
    with pytest.raises(plait.ConnectError, match="join line"):
        plait.Client(proxy.line(cluster.client_line).replace("-", "-0", 1))
    assert proxy.accepted == 0


def test_another_coordinator_is_not_ours(cluster: rig.Cluster, tmp_path: Path) -> None:
    other = rig.Cluster(tmp_path / "other")
    try:
        line = f"{cluster.worker_line.partition('@')[0]}@127.0.0.1:{other.port}"
        pins = [cluster.worker_line.split("-")[1], other.worker_line.split("-")[1]]
        refused(cluster.start("worker", line), 4, "not the coordinator", *pins)
        with pytest.raises(plait.AuthError):
            plait.Client(f"{cluster.client_line.partition('@')[0]}@127.0.0.1:{other.port}")
    finally:
        other.stop()


def test_a_line_for_one_role_is_refused_in_the_other(cluster: rig.Cluster) -> None:
    refused(cluster.start("worker", cluster.client_line), 4, "client")
    with pytest.raises(plait.AuthError, match="worker"):
        plait.Client(cluster.worker_line)


def test_nobody_there_is_exit_code_3(cluster: rig.Cluster) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    status = cluster.start("status", env={"PLAIT_ADDRESS": f"{cluster.client_line.partition('@')[0]}@127.0.0.1:{port}"})
    refused(status, 3, str(port))


def test_no_line_is_exit_code_3(tmp_path: Path) -> None:
    env = {"PLAIT_HOME": str(tmp_path), "PLAIT_ADDRESS": ""}
    refused(rig.plait("worker", env=env), 3, "plait coordinator")
    refused(rig.plait("status", env=env), 3, "plait coordinator")


@pytest.mark.parametrize("address", ["nonsense", "host:8000", "plait1c-", "tcp://127.0.0.1:8000", ""])
def test_a_bad_address_says_what_one_looks_like(address: str) -> None:
    with pytest.raises(plait.ConnectError, match="plait1c-"):
        plait.Client(address)


def test_noise_is_refused_and_disturbs_nobody(cluster: rig.Cluster) -> None:
    cluster.worker()
    seed = random.Random(7)
    silent = [socket.create_connection(("127.0.0.1", cluster.port)) for _ in range(80)]
    try:
        noises = [
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            seed.randbytes(100_000),
            b"\x16\x03\x01\xff\xff" + bytes(70_000),
        ]
        for noise in noises:
            with socket.create_connection(("127.0.0.1", cluster.port), timeout=rig.PATIENCE) as stranger:
                try:
                    stranger.sendall(noise)
                    while stranger.recv(1 << 16):
                        pass
                except ConnectionError:
                    pass
        still_works(cluster)
        for stranger in silent:
            stranger.settimeout(rig.PATIENCE)
            try:
                assert stranger.recv(1) == b"", "it closes without a word"
            except ConnectionResetError:
                pass
    finally:
        for stranger in silent:
            stranger.close()
    still_works(cluster)
    assert len(cluster.coordinator.err) < 30, "refusals are logged once, not once a packet"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_without_a_key_gets_nothing(cluster: rig.Cluster, version: ssl.TLSVersion) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["plait"])
    heard = b"nothing yet"
    with socket.create_connection(("127.0.0.1", cluster.port), timeout=rig.PATIENCE) as bare:
        try:
            with context.wrap_socket(bare) as stranger:
                heard = stranger.recv(1)
        except (ssl.SSLError, ConnectionError):
            heard = b""
    assert heard == b""


def test_keys_are_kept_from_others(cluster: rig.Cluster) -> None:
    assert cluster.home.stat().st_mode & 0o77 == 0
    files = [path for path in cluster.home.iterdir() if path.is_file()]
    assert {"worker.join", "client.join"} <= {path.name for path in files}
    assert all(path.stat().st_mode & 0o77 == 0 for path in files)
    assert all(path.stat().st_uid == os.getuid() for path in files)
