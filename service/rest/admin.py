"""The administrators' port: metrics, apart from what callers reach."""

from __future__ import annotations

import asyncio
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

from service.errors import ConfigurationError
from service.rest.wire import BoundedHttpProtocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp

_START_POLL_S = 0.01
_BACKLOG = 64


class AdminListener:
    """Serves an app on a port of its own, on the running event loop.

    For whoever can reach the port: it asks for no key, so a network rule must say who that is.
    """

    def __init__(self, app: ASGIApp, host: str, port: int) -> None:
        self._app = app
        self._host = host
        self._port = port
        self._server: _EmbeddedServer | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """Return the port that is listened on; 0 asks the system for one at the start."""
        return self._port

    async def start(self) -> None:
        """Listen and answer. Raises ConfigurationError if the port cannot be used."""
        listener = self._listen()
        config = uvicorn.Config(
            self._app,
            http=BoundedHttpProtocol,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        self._server = _EmbeddedServer(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started and not self._task.done():  # noqa: ASYNC110 - it has none
            await asyncio.sleep(_START_POLL_S)

    async def stop(self) -> None:
        """Close the port. May be called twice, and without a start."""
        if self._server is None or self._task is None:
            return
        self._server.should_exit = True
        await self._task

    def _listen(self) -> socket.socket:
        try:
            family = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)[0][0]
            listener = socket.create_server(
                (self._host, self._port), family=family, backlog=_BACKLOG
            )
        except OSError as exc:
            raise ConfigurationError(
                f"MINTMARK_SERVER__ADMIN_PORT: {self._host}:{self._port} cannot be used: {exc}."
            ) from exc
        self._port = listener.getsockname()[1]
        return listener


class _EmbeddedServer(uvicorn.Server):
    """A second server in the process: signals belong to the first one."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signal handlers as they are."""
        yield
