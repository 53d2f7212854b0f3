"""Starts the real service in its own process, on free ports and with its own state."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0


@dataclass
class Server:
    """A `mintmark serve` process. `http_port` and `grpc_port` are on 127.0.0.1."""

    process: subprocess.Popen[bytes]
    http_port: int
    grpc_port: int
    state_dir: Path
    log_path: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def probe(self, path: str = "/readyz") -> int | None:
        """Return the status of a probe, or None if nobody answers."""
        try:
            return httpx.get(f"{self.url}{path}", timeout=5).status_code
        except httpx.TransportError:
            return None

    def wait_ready(self, timeout_s: float = START_TIMEOUT_S) -> None:
        ends_at_s = time.monotonic() + timeout_s
        while time.monotonic() < ends_at_s:
            if self.probe() == 200:
                return
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode}")
            time.sleep(0.1)
        raise AssertionError(f"the server was not ready within {timeout_s} s")

    def worker_pid(self) -> int:
        """Return the process that serves: the only child of the one we started."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        (pid,) = children.read_text().split()
        return int(pid)

    def terminate(self) -> None:
        """Send SIGTERM, as Kubernetes does, to the parent only."""
        self.process.send_signal(signal.SIGTERM)

    def wait_stopped(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Return the exit code."""
        return self.process.wait(timeout_s)


@contextmanager
def run_server(
    folder: Path,
    settings: dict[str, str] | None = None,
    *,
    wait_until_ready: bool = True,
    code: Path = ROOT,
) -> Iterator[Server]:
    """Yield a running server; stop it afterwards, and show its log if anything went wrong.

    `settings`: further MINTMARK_… variables; none of the caller's own reach the server.
    `code`: the folder that the packages are imported from.
    """
    http_port, grpc_port = free_ports(2)
    folder.mkdir(parents=True, exist_ok=True)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MINTMARK_", "BENTO"))}
    environment |= {
        "MINTMARK_SERVER__HTTP_PORT": str(http_port),
        "MINTMARK_SERVER__GRPC_PORT": str(grpc_port),
        "MINTMARK_SERVER__STATE_DIR": str(folder / "state"),
        "MINTMARK_SERVER__LAME_DUCK_S": "0.5",
        "PYTHONPATH": str(code),
        **(settings or {}),
    }
    log_path = folder / "server.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "service.cli", "serve"],
            cwd=folder,  # not the checkout: it must work from anywhere
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(process, http_port, grpc_port, folder / "state", log_path)
    try:
        if wait_until_ready:
            server.wait_ready()
        yield server
    except BaseException:
        sys.stderr.write(f"--- server log ---\n{server.log()}\n")
        raise
    finally:
        _stop(process)


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on right now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # the worker follows within a second
            process.wait(5)
