"""Run inside a fresh network namespace: serve, draw, verify, with a loopback device and no more.

Usage: offline_job.py FOLDER. Prints the verdict. A helper of test_main_job, not a test itself.
"""

from __future__ import annotations

import base64
import fcntl
import socket
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import httpx

from tests.e2e.server import run_server

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1


def bring_loopback_up() -> None:
    """A new namespace has a loopback device that is down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh", b"lo", 0)
        (flags,) = struct.unpack("16xh", fcntl.ioctl(control, _SIOCGIFFLAGS, request)[:18])
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh", b"lo", flags | _IFF_UP))


def assert_isolated() -> None:
    """Only then does the run prove anything."""
    names = [name for _, name in socket.if_nameindex()]
    assert names == ["lo"], names


def main(folder: Path) -> None:
    bring_loopback_up()
    assert_isolated()
    with run_server(folder) as server:
        body = {"prompt": "a red apple", "num_inference_steps": 4}
        answer = httpx.post(f"{server.url}/v1/images/generations", json=body, timeout=60)
        answer.raise_for_status()
        content = base64.b64decode(answer.json()["data"][0]["b64_json"])
        report = httpx.post(f"{server.url}/v1/images/verify", files={"image": ("p", content)})
        report.raise_for_status()
        sys.stdout.write(report.json()["verdict"] + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
