"""The gRPC server of a worker: health and reflection, on the event loop of the HTTP app.

BentoML's class services cannot serve gRPC, so this one is our own: same process, same engine.
"""

from __future__ import annotations

import asyncio
import logging

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from service.errors import ConfigurationError

logger = logging.getLogger(__name__)

_WHOLE_SERVER = ""  # the health protocol's name for it


class RpcServer:
    """Serves gRPC on one address. All methods belong to the event loop's thread.

    `grpc.health.v1` answers NOT_SERVING until `set_serving(True)`.
    """

    def __init__(self, host: str, port: int) -> None:
        # Without SO_REUSEPORT a second server on the port fails loudly instead of taking half.
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        # The stubs do not know it.
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = [health.SERVICE_NAME, reflection.SERVICE_NAME]
        reflection.enable_server_reflection(names, self._server)
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._changes: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen, not serving yet. Raises ConfigurationError if the port cannot be used."""
        try:
            self._server.add_insecure_port(self._address)
        except RuntimeError as exc:
            raise ConfigurationError(
                f"MINTMARK_SERVER__GRPC_PORT: {self._address} cannot be used."
            ) from exc
        await self._set(is_serving=False)
        await self._server.start()

    def set_serving(self, is_serving: bool) -> None:
        """Tell health checks, and everyone who watches, whether new work is welcome."""
        change = asyncio.get_running_loop().create_task(self._set(is_serving=is_serving))
        self._changes.add(change)  # the loop itself keeps only a weak reference
        change.add_done_callback(self._changes.discard)

    async def stop(self) -> None:
        """Close at once: an idle health watch would otherwise hold the shutdown open."""
        await self._set(is_serving=False)
        await self._server.stop(0)

    async def _set(self, *, is_serving: bool) -> None:
        status = health_pb2.HealthCheckResponse
        await self._health.set(_WHOLE_SERVER, status.SERVING if is_serving else status.NOT_SERVING)
