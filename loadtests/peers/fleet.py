"""Starts and stops the servers, one at a time: an idle one would take from the measured one."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from loadtests.own_server import own_server
from loadtests.peers.process_times import descendants_cpu_s
from loadtests.peers.servers.wire import READY
from loadtests.server_process import (
    HOST,
    clean_environment,
    free_ports,
    launch,
    stop,
    wait_until_ready,
)
from loadtests.targets.http import HttpTarget

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    from loadtests.harness.request import Target
    from loadtests.harness.telemetry import Telemetry
    from loadtests.peers.options import Options, SubjectName

_START_S, _STOP_S = 600.0, 20.0
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
    return [*python, "bentoml", "serve", served, "--host", HOST, *place, *arguments]


@contextmanager
def _peer(subject: SubjectName, folder: Path, options: Options) -> Iterator[str]:
    (port,) = free_ports(1)
    environment = clean_environment() | {
        "BENTOML_HOME": str(folder / "bentoml"),
        "OMP_NUM_THREADS": str(options.num_threads),
        "HF_HUB_OFFLINE": "1",
    }
    process = launch(peer_command(subject, port, options), folder, environment)
    url = f"http://{HOST}:{port}"
    try:
        wait_until_ready(f"{url}{READY}", process, folder, _START_S)
        yield url
    finally:
        stop(process, _STOP_S)
