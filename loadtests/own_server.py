"""Starts the service on free ports of loopback, with a state folder of its own, for one run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from models.weights import write_digests
from service.config import child_environment, load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[1]
_HOST = "127.0.0.1"
_START_S = 120.0
_STOP_S = 30.0
_LOOK_S = 0.1


class ServerFailed(Exception):
    """The server did not come up; the message ends with the last lines of its log."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a server is reached. `http_url` has no path, `grpc_address` is host and port."""

    http_url: str
    grpc_address: str


@contextmanager
def own_server(
    folder: Path, settings: dict[str, str], sizes_px: Sequence[tuple[int, int]] = ()
) -> Iterator[Endpoints]:
    """Yield a server that takes work; it ends with the block.

    settings: MINTMARK_ variables; none of the caller's own reach the server. sizes_px: if given,
    the embedded model is served in these. Raises ServerFailed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    http_port, grpc_port = _free_ports(2)
    environment = {
        name: value
        for name, value in child_environment(load_settings()).items()
        if not name.startswith(("MINTMARK_", "BENTO"))
    }
    environment |= {
        "BENTOML_DO_NOT_TRACK": "true",
        "MINTMARK_SERVER__HTTP_PORT": str(http_port),
        "MINTMARK_SERVER__GRPC_PORT": str(grpc_port),
        "MINTMARK_SERVER__STATE_DIR": str(folder / "state"),
        "MINTMARK_SERVER__LAME_DUCK_S": "0",
        "PYTHONPATH": str(ROOT),
    }
    if sizes_px:
        environment["MINTMARK_MODEL__PATH"] = str(_resized_model(folder / "model", sizes_px))
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "service.cli", "serve"],
            cwd=folder,
            env=environment | settings,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    endpoints = Endpoints(f"http://{_HOST}:{http_port}", f"{_HOST}:{grpc_port}")
    try:
        _wait_until_ready(endpoints.http_url, process, folder / "server.log")
        yield endpoints
    finally:
        _stop(process)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server((_HOST, 0)) for _ in range(count)]
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _resized_model(folder: Path, sizes_px: Sequence[tuple[int, int]]) -> Path:
    """Return a copy of the embedded model's folder that offers other sizes."""
    shutil.copytree(ROOT / "models" / "embedded", folder, dirs_exist_ok=True)
    path = folder / "mintmark.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    facts |= {"sizes_px": list(sizes_px), "default_size_px": sizes_px[0]}
    path.write_text(json.dumps(facts), encoding="utf-8")
    write_digests(folder)
    return folder


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    ends_at_s = time.monotonic() + _START_S
    while time.monotonic() < ends_at_s:
        if process.poll() is not None:
            raise ServerFailed(f"The server ended with {process.returncode}.\n{_tail(log)}")
        try:
            if httpx.get(f"{url}/readyz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(_LOOK_S)
    raise ServerFailed(f"The server was not ready within {_START_S:g} s.\n{_tail(log)}")


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # the worker is in the same session
            process.wait(_LOOK_S * 50)
