"""Starts one arm of the front-door benchmark, one at a time, and knows what the machine does."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from service.config import child_environment, load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from loadtests.bench_front_server import Order

ROOT = Path(__file__).parents[1]
HOST = "127.0.0.1"
_SHELL = "loadtests.bench_front_shell:FrontShell"
_START_S = 60.0
_STOP_S = 30.0
_LOOK_S = 1.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cores:
    """Which cores serve and which ask; None where there is only one to share."""

    server: frozenset[int] | None
    client: frozenset[int] | None

    @classmethod
    def split(cls) -> Cores:
        """Give the last core to the client and the others to the server."""
        *rest, last = sorted(os.sched_getaffinity(0))
        return cls(frozenset(rest), frozenset({last})) if rest else cls(None, None)


@dataclass(slots=True)
class Running:
    """A server process that listens. `pid`: of the process that serves."""

    pid: int
    ports: dict[str, int]

    def cpu_s(self) -> float:
        """Return the CPU time that it has taken so far; the system counts in 10 ms."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


@contextmanager
def running(order: Order, cores: Cores) -> Iterator[Running]:
    """Yield an arm that listens; it ends with the block, or with this process."""
    folder = Path(order.folder)
    process = _start(
        [sys.executable, "-m", "loadtests.bench_front_server", order.as_argument()], cores
    )
    try:
        ready = folder / "ready.json"
        _wait_for(ready, process)
        yield Running(process.pid, json.loads(ready.read_text(encoding="utf-8")))
    finally:
        _end(process)


@contextmanager
def running_shell(folder: Path, cores: Cores) -> Iterator[Running]:
    """Yield the front door inside BentoML's shell, which has a process for itself and a worker."""
    port = _free_port()
    command = [sys.executable, "-m", "bentoml", "serve", _SHELL, "--host", HOST]
    command += ["--port", str(port), "--working-dir", str(ROOT)]
    settings = load_settings()
    server = settings.server.model_copy(update={"state_dir": folder})
    environment = child_environment(settings.model_copy(update={"server": server}))
    process = _start(command, cores, environment)
    try:
        _wait_until_it_answers(port, process)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        (worker,) = children.split()
        yield Running(int(worker), {"http": port})
    finally:
        process.terminate()
        _end(process)


def measured_alone(order: Order, cores: Cores) -> dict[str, Any]:
    """Return what an arm without a transport has measured of itself."""
    process = _start(
        [sys.executable, "-m", "loadtests.bench_front_server", order.as_argument()], cores
    )
    try:
        _wait_for(Path(order.folder) / "journal.json", process)
    finally:
        _end(process)
    return journal(order)


def journal(order: Order) -> dict[str, Any]:
    """Return what an arm has written down in the end."""
    written = (Path(order.folder) / "journal.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(written)
    return found


def busy_share() -> float:
    """Return the share of the machine's CPU time that others take, over one second of our rest."""
    idle_before, total_before = _cpu_ticks()
    time.sleep(_LOOK_S)
    idle, total = _cpu_ticks()
    return 1.0 - (idle - idle_before) / max(1, total - total_before)


def _cpu_ticks() -> tuple[int, int]:
    first = Path("/proc/stat").read_text().splitlines()[0]
    ticks = [int(value) for value in first.split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def _arm(order: Order) -> list[str]:
    return [sys.executable, "-m", "loadtests.bench_front_server", order.as_argument()]


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])


def _wait_until_it_answers(port: int, process: subprocess.Popen[bytes]) -> None:
    ends_at_s = time.monotonic() + _START_S
    while time.monotonic() < ends_at_s and process.poll() is None:
        try:
            if httpx.get(f"http://{HOST}:{port}/readyz", timeout=1.0).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise RuntimeError("the shell did not answer")


def _start(
    command: Sequence[str], cores: Cores, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a process on the server's cores, its log formatted and thrown away."""
    here = os.sched_getaffinity(0)
    if cores.server is not None:
        os.sched_setaffinity(0, cores.server)  # a child is born on its parent's cores
    try:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
    finally:
        os.sched_setaffinity(0, cores.client or here)


def _wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    ends_at_s = time.monotonic() + _START_S
    while not path.exists():
        if process.poll() is not None and not path.exists():
            raise RuntimeError(f"the arm ended with {process.returncode}")
        if time.monotonic() > ends_at_s:
            raise RuntimeError(f"the arm was not ready within {_START_S:g} s")
        time.sleep(0.02)


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
