"""Starts and stops the servers, one at a time: an idle one would take from the measured one."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import httpx

from loadtests.own_server import ROOT, ServerFailed, own_server
from loadtests.peers.process_times import descendants_cpu_s
from loadtests.peers.servers.wire import READY
from loadtests.targets.http import HttpTarget
from service.config import child_environment, load_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    from loadtests.harness.request import Target
    from loadtests.harness.telemetry import Telemetry
    from loadtests.peers.options import Options, SubjectName

_HOST = "127.0.0.1"
_START_S, _STOP_S, _LOOK_S = 600.0, 20.0, 0.1
_SERVERS = "loadtests.peers.servers"


@dataclass(frozen=True, slots=True)
class Opened:
    """A server that takes work. `cpu_s`: what all its processes have taken until now."""

    target: Target
    telemetry: Telemetry | None
    cpu_s: Callable[[], float]


class Fleet(Protocol):
    """Where servers come from."""

    def open(self, subject: SubjectName) -> AbstractAsyncContextManager[Opened]:
        """Return a started server that ends with the block."""
        ...


class LocalFleet:
    """Every server in processes of its own on this machine. Raises ServerFailed."""

    def __init__(self, options: Options) -> None:
        self._options = options

    @asynccontextmanager
    async def open(self, subject: SubjectName) -> AsyncIterator[Opened]:
        """Yield the server; nothing else may be a child of this process meanwhile."""
        with tempfile.TemporaryDirectory() as name, self._started(subject, Path(name)) as url:
            async with HttpTarget(url) as target:
                yield Opened(
                    target,
                    target if subject.startswith("mintmark") else None,
                    lambda: descendants_cpu_s(os.getpid()),
                )

    def _started(self, subject: SubjectName, folder: Path) -> AbstractContextManager[str]:
        if subject.startswith("mintmark"):
            return _mintmark(folder, self._options, is_torch=subject == "mintmark-torch")
        return _peer(subject, folder, self._options)


def missing_packages(subjects: tuple[SubjectName, ...]) -> list[str]:
    """Return what the extra `peers` would install and is not there."""
    needed = {"litserve": "litserve", "plain": "fastapi", "bentoml": "diffusers"}
    wanted = {needed[each] for each in subjects if each in needed}
    return sorted(each for each in wanted if importlib.util.find_spec(each) is None)


@contextmanager
def _mintmark(folder: Path, options: Options, *, is_torch: bool) -> Iterator[str]:
    settings = {
        "MINTMARK_MODEL__RUNNER": "torch" if is_torch else "onnx",
        "MINTMARK_MODEL__NUM_THREADS": str(options.num_threads),
        # A guided image takes two rows.
        "MINTMARK_ENGINE__MAX_BATCH_ROWS": str(2 * options.max_batch_size),
        # No peer refuses what it cannot do soon, so neither does this one.
        "MINTMARK_ENGINE__MAX_QUEUED_IMAGES": "10000",
    }
    with own_server(folder, settings) as endpoints:
        yield endpoints.http_url


def peer_command(subject: SubjectName, port: int, options: Options) -> list[str]:
    """Return the command that serves a peer."""
    threads, batch = str(options.num_threads), str(options.max_batch_size)
    python = [sys.executable, "-m"]
    place = ["--port", str(port)]
    if subject == "plain":
        return [*python, f"{_SERVERS}.plain", *place, "--threads", threads]
    if subject == "litserve":
        limits = ["--threads", threads, "--max-batch-size", batch]
        return [*python, f"{_SERVERS}.litserve_batching", *place, *limits]
    arguments = ["--arg", f"threads={threads}", "--arg", f"max_batch_size={batch}"]
    served = f"{_SERVERS}.bentoml_batching:Images"
    # Its own folder: beside a bentofile BentoML would read that one.
    return [*python, "bentoml", "serve", served, "--host", _HOST, *place, *arguments]


@contextmanager
def _peer(subject: SubjectName, folder: Path, options: Options) -> Iterator[str]:
    with socket.create_server((_HOST, 0)) as probe:
        port = int(probe.getsockname()[1])
    settings = load_settings()
    environment = {
        name: value
        for name, value in child_environment(settings).items()
        if not name.startswith(("MINTMARK_", "BENTO"))
    } | {
        "BENTOML_DO_NOT_TRACK": "true",
        "BENTOML_HOME": str(folder / "bentoml"),
        "OMP_NUM_THREADS": str(options.num_threads),
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(ROOT),
    }
    log_path = folder / "server.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            peer_command(subject, port, options),
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    url = f"http://{_HOST}:{port}"
    try:
        _wait_until_ready(url, process, log_path)
        yield url
    finally:
        _stop(process)


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    ends_at_s = time.monotonic() + _START_S
    while time.monotonic() < ends_at_s and process.poll() is None:
        try:
            if httpx.get(f"{url}{READY}", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(_LOOK_S)
    last_lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:]
    raise ServerFailed("\n".join([f"The server was not ready: {process.args!r}.", *last_lines]))


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # whoever of its session is left
    process.wait()
