"""Runs the service and starts it again whenever it ends, as a cluster would."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

import aiohttp

from loadtests.own_server import Endpoints
from loadtests.server_process import (
    HOST,
    SERVE,
    ServerFailed,
    free_ports,
    launch,
    log_tail,
    service_environment,
)

if TYPE_CHECKING:
    from types import TracebackType

_START_S = 180.0
_STOP_S = 60.0
_LOOK_S = 0.05
_PROBE_S = 5.0


@dataclass(slots=True)
class Downtime:
    """When no worker was there, in the event loop's time; `until_s` is None while it lasts."""

    from_s: float
    until_s: float | None = None


@dataclass(slots=True)
class Supervisor:
    """One `mintmark serve` on ports of loopback; use it as an async context manager.

    `settings`: MINTMARK_ variables, or others of the process; none of the caller's MINTMARK_ ones
    reach it. `downtimes`: every death of the serving process, whoever was at fault, until the one
    that was started in its place was ready. Raises ServerFailed if it does not become ready.
    """

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    downtimes: list[Downtime] = field(default_factory=list)
    _process: subprocess.Popen[bytes] | None = None
    _watching: asyncio.Task[None] | None = None
    _is_up: asyncio.Event = field(default_factory=asyncio.Event)
    _is_leaving: bool = False
    _ports: tuple[int, int] = (0, 0)

    @property
    def state_dir(self) -> Path:
        """Return where the server keeps its state."""
        return self.folder / "state"

    @property
    def endpoints(self) -> Endpoints:
        """Return where it is reached, the same after every start."""
        http_port, grpc_port = self._ports
        return Endpoints(f"http://{HOST}:{http_port}", f"{HOST}:{grpc_port}")

    async def __aenter__(self) -> Self:
        """Start the server and wait until it is ready."""
        self.folder.mkdir(parents=True, exist_ok=True)
        http_port, grpc_port = free_ports(2)
        self._ports = (http_port, grpc_port)
        self._start()
        self._watching = asyncio.create_task(self._watch())
        try:
            await self.wait_ready()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop it for good."""
        await self._end()

    async def wait_ready(self) -> None:
        """Wait until the server, or its successor, takes work. Raises ServerFailed."""
        assert self._watching is not None
        waiting = asyncio.ensure_future(self._is_up.wait())
        done, _ = await asyncio.wait(
            {waiting, self._watching}, timeout=_START_S, return_when=asyncio.FIRST_COMPLETED
        )
        waiting.cancel()
        if self._watching in done:
            await self._watching  # raises what ended it
        if waiting not in done:
            raise ServerFailed(f"The server was not ready within {_START_S:g} s.\n{self.tail()}")

    def worker_pid(self) -> int:
        """Return the process that serves. Raises ProcessLookupError while there is none."""
        worker = self._worker()
        if worker is None:
            raise ProcessLookupError("no worker runs")
        return worker

    def signal_worker(self, number: signal.Signals) -> None:
        """Send the serving process a signal; SIGKILL counts as its death from now on."""
        os.kill(self.worker_pid(), number)
        if number is signal.SIGKILL:
            self._note_death()

    def replace(self) -> None:
        """End the server in order, as an operator does; it is started again."""
        assert self._process is not None
        self._is_leaving = True
        self._note_death()
        self._process.terminate()

    def tail(self) -> str:
        """Return the end of the server's log."""
        return log_tail(self.folder)

    def _start(self) -> None:
        environment = service_environment(self.state_dir, *self._ports, self.settings)
        self._process = launch(SERVE, self.folder, environment)

    async def _watch(self) -> None:
        """Notice deaths, start successors, and note when they are ready."""
        timeout = aiohttp.ClientTimeout(total=_PROBE_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                assert self._process is not None
                if self._process.poll() is not None:
                    self._note_death()
                    self._is_leaving = False
                    self._kill()  # nothing of it may hold the ports
                    self._start()
                elif self._is_up.is_set() and self._worker() is None:
                    self._note_death()
                elif not self._is_up.is_set() and await self._is_ready(session):
                    self._note_ready()
                await asyncio.sleep(_LOOK_S)

    async def _is_ready(self, session: aiohttp.ClientSession) -> bool:
        if self._worker() is None or self._is_leaving:
            return False
        try:
            async with session.get(f"{self.endpoints.http_url}/readyz") as response:
                return response.status == 200
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    def _note_death(self) -> None:
        if self._is_up.is_set():
            self._is_up.clear()
            self.downtimes.append(Downtime(asyncio.get_running_loop().time()))

    def _note_ready(self) -> None:
        if self.downtimes:
            self.downtimes[-1].until_s = asyncio.get_running_loop().time()
        self._is_up.set()

    def _worker(self) -> int | None:
        """Return the only child of the process we started, unless it is a zombie."""
        assert self._process is not None
        parent = Path(f"/proc/{self._process.pid}")
        try:
            children = (parent / "task" / parent.name / "children").read_text().split()
            alive = [
                int(child)
                for child in children
                if Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
            ]
        except (FileNotFoundError, ProcessLookupError):
            return None
        return alive[0] if alive else None

    async def _end(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(process.wait, _STOP_S)
        self._kill()

    def _kill(self) -> None:
        """End whatever is left of the server's session, which is its process group as well."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(_STOP_S)
