"""The gRPC server of a worker, on the event loop of the HTTP app.

BentoML's class services cannot serve gRPC, so this one is our own: same process, same engine.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from service.errors import ConfigurationError
from service.rpc.error_status import shaped_errors
from service.rpc.generated.mintmark.v1 import image_generation_pb2 as pb
from service.rpc.generated.mintmark.v1 import image_generation_pb2_grpc as pb_grpc
from service.rpc.image_generation import ImageGenerationServicer
from service.rpc.interception import SurroundingInterceptor
from service.rpc.observation import Observation
from service.rpc.open_calls import OpenCalls
from service.rpc.recording import Recording
from service.rpc.request_identity import identified
from service.rpc.tls import RotatingCertificate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from google.protobuf.descriptor import ServiceDescriptor

    from service.intake import LimitsOptions
    from service.rpc.dependencies import RpcEnvironment
    from service.rpc.interception import Handler
    from service.rpc.options import RpcOptions

logger = logging.getLogger(__name__)

_SERVICE = pb.DESCRIPTOR.services_by_name["ImageGeneration"]
SERVICE_NAME: str = _SERVICE.full_name
_INFRASTRUCTURE = (
    health_pb2.DESCRIPTOR.services_by_name["Health"],
    reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"],
)

# A client that vanished without a word is noticed within the sum of the two, and its work stopped.
_KEEPALIVE_S = 60
_KEEPALIVE_TIMEOUT_S = 20
# Clients may ask as often as this whether the server is still there.
_LEAST_PING_INTERVAL_S = 10
# A call that began just before its connection grew old still gets all of its time.
_AGE_GRACE_EXTRA_S = 60.0
# Everything around the pictures of a request.
_MESSAGE_EXTRA_BYTES = 64 * 1024
# How long new calls are refused in words before connections are told to go. A call that meets the
# latter half-way is CANCELLED by gRPC itself, which clients do not retry; told in words, they wait.
_REFUSAL_S = 1.0
# How long the last answers may take to leave the process while health watches are still open.
_FLUSH_S = 1.0


class ServiceRegistry:
    """Takes what the generated `add_…_to_server` functions register.

    They register every method twice: with a handler that is found by name, and by itself, for which
    the server then waits apart. grpc.aio waits anew for all of these at each call, whichever it is,
    so that a call costs the more the more methods there are; found by name, it does not.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(
        self, handlers: Sequence[grpc.GenericRpcHandler[Any, Any]]
    ) -> None:
        """Serve the methods of `handlers`."""
        self._server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """Do nothing: the same handlers have come the other way."""


@dataclass(frozen=True, slots=True)
class FurtherService:
    """A service beside our own. `descriptor`: its name and methods; `add`: registers it."""

    descriptor: ServiceDescriptor
    add: Callable[[ServiceRegistry], None]


class RpcServer:
    """Serves gRPC on one address. All methods belong to the event loop's thread.

    `grpc.health.v1` answers NOT_SERVING until `set_serving(True)`. `interceptors` stand between
    what surrounds every call (its id, counting, the shape of errors) and its handler. A
    ServiceError that one of them raises, or that is raised by what it wraps around the handler, is
    counted, logged and sent with all its details like any other. `services`: what is served beside
    ImageGeneration, in the same surroundings.
    Raises ConfigurationError if the certificate cannot be used.
    """

    def __init__(
        self,
        address: str,
        environment: RpcEnvironment,
        options: RpcOptions,
        interceptors: Sequence[grpc.aio.ServerInterceptor[Any, Any]] = (),
        services: Sequence[FurtherService] = (),
    ) -> None:
        self._certificate = RotatingCertificate(options) if options.uses_tls else None
        self._calls = OpenCalls()
        ours = [_SERVICE, *(service.descriptor for service in services)]
        served = [*ours, *_INFRASTRUCTURE]
        methods = _method_names(served)
        observation = Observation(environment.metrics, environment.clock, methods)
        recorded = Recording(environment.tracer, environment.clock, methods).recorded
        # Outermost first: each call has an id before it is traced and counted, and that before it
        # can fail.
        surrounds = (identified, recorded, observation.observed, shaped_errors, self._calls.counted)
        self._server = grpc.aio.server(
            interceptors=[SurroundingInterceptor(surrounds), *interceptors],
            options=_channel_options(environment, options),
            maximum_concurrent_rpcs=options.max_concurrent_calls,
        )
        registry = ServiceRegistry(self._server)
        pb_grpc.add_ImageGenerationServicer_to_server(  # type: ignore[no-untyped-call]
            ImageGenerationServicer(environment), registry
        )
        for service in services:
            service.add(registry)
        # The health protocol's name for the whole server is the empty one.
        self._health_names = ["", *(service.full_name for service in ours)]
        # The stubs do not know either `aio`.
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, registry)
        names = [service.full_name for service in served]
        described = reflection.aio.ReflectionServicer(names)  # type: ignore[attr-defined]
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(described, registry)
        self._address = address
        self._grace_s = environment.request_timeout_s + _AGE_GRACE_EXTRA_S
        self._changes: set[asyncio.Task[None]] = set()
        self._draining: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """Listen, not serving yet; return the port, which the system chose if ours was 0.

        Raises ConfigurationError if the port cannot be used.
        """
        try:
            if self._certificate is None:
                port = self._server.add_insecure_port(self._address)
            else:
                credentials = self._certificate.server_credentials()
                port = self._server.add_secure_port(self._address, credentials)
        except RuntimeError as exc:
            raise ConfigurationError(
                f"MINTMARK_SERVER__GRPC_PORT: {self._address} cannot be used."
            ) from exc
        await self._set(is_serving=False)
        await self._server.start()
        return port

    def set_serving(self, is_serving: bool) -> None:
        """Tell health checks, and everyone who watches, whether new work is welcome."""
        change = asyncio.get_running_loop().create_task(self._set(is_serving=is_serving))
        self._changes.add(change)  # the loop itself keeps only a weak reference
        change.add_done_callback(self._changes.discard)

    def begin_drain(self) -> None:
        """Refuse new calls and, soon after, connections; what runs goes on. May be called twice."""
        if self._draining is None:
            self._calls.close()
            self._draining = asyncio.get_running_loop().create_task(self._drain())

    async def drain(self) -> None:
        """Refuse new calls and return when every call has been answered, or its time is up."""
        self.begin_drain()
        assert self._draining is not None
        await self._draining

    async def stop(self) -> None:
        """Close at once, cutting what still runs."""
        await self._set(is_serving=False)
        await self._server.stop(0)

    async def _drain(self) -> None:
        """Stop the server once our own calls have ended: an idle health watch never does."""
        await self._set(is_serving=False)
        none_left = asyncio.ensure_future(self._calls.wait_until_none())
        await asyncio.wait({none_left}, timeout=_REFUSAL_S)
        stopping = asyncio.ensure_future(self._server.stop(self._grace_s))
        await asyncio.wait({stopping, none_left}, return_when=asyncio.FIRST_COMPLETED)
        none_left.cancel()
        # The last handler has returned, but its status may not have left yet.
        await asyncio.wait({stopping}, timeout=_FLUSH_S)
        await self._server.stop(0)  # the shorter grace wins
        await stopping

    async def _set(self, *, is_serving: bool) -> None:
        status = health_pb2.HealthCheckResponse
        for name in self._health_names:
            await self._health.set(name, status.SERVING if is_serving else status.NOT_SERVING)


def rpc_address(host: str, port: int) -> str:
    """Return where to listen as gRPC writes it; an IPv6 address goes in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def max_request_bytes(limits: LimitsOptions) -> int:
    """Return how large a request message may be: one upload, and its mask, and the text."""
    return limits.max_upload_bytes + limits.max_body_bytes + _MESSAGE_EXTRA_BYTES


def _method_names(services: Iterable[ServiceDescriptor]) -> list[str]:
    """Return the full names of all methods, as in "/grpc.health.v1.Health/Check"."""
    return [
        f"/{service.full_name}/{method.name}" for service in services for method in service.methods
    ]


def _channel_options(environment: RpcEnvironment, options: RpcOptions) -> list[tuple[str, int]]:
    age_grace_s = environment.request_timeout_s + _AGE_GRACE_EXTRA_S
    return [
        # Without SO_REUSEPORT a second server on the port fails loudly instead of taking half.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", max_request_bytes(environment.limits)),
        # No bound on what we send: a message holds one picture, whose size the model decides.
        ("grpc.max_send_message_length", -1),
        ("grpc.max_connection_age_ms", int(options.max_connection_age_s * 1000)),
        ("grpc.max_connection_age_grace_ms", int(age_grace_s * 1000)),
        ("grpc.keepalive_time_ms", _KEEPALIVE_S * 1000),
        ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_S * 1000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", _LEAST_PING_INTERVAL_S * 1000),
    ]
