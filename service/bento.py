"""The BentoML service: BentoML runs the process, our own app answers every request."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import bentoml
import uvicorn.config

from service import config
from service.access.control import AccessControl, build_access, listening_host
from service.errors import ConfigurationError
from service.lifecycle import Lifecycle
from service.signal_relay import SignalRelay
from service.telemetry.logging import configure_logging
from service.termination import StopSteps, Termination, listener_fd, parent_watch
from service.version import installed_version

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from service.bootstrap import Application
    from service.config import Settings
    from service.rpc.server import RpcServer
    from service.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

# For what surrounds BentoML and reads it: a platform's proxy must not give up before we do.
_SHELL_EXTRA_TIMEOUT_S = 60.0


def _settings() -> Settings:
    """Return the settings, or end the process with one clear line; parent and worker alike."""
    try:
        return config.load_settings()
    except ConfigurationError as error:
        raise SystemExit(f"mintmark: {error}") from None


_SETTINGS = _settings()


class OwnAppFirst:
    """Hands every request to our app, so that none of BentoML's own routes and pages is reached.

    A mounted app would come after them: its probes would lack our request id, and unknown paths
    would end at BentoML's index page, which loads a script from elsewhere.
    """

    def __init__(self, shell: ASGIApp) -> None:
        self._shell = shell
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope; the lifespan, in which our app is made, stays with BentoML."""
        if scope["type"] == "lifespan":
            await self._shell(scope, receive, send)
            return
        if self._app is None:
            self._app = bentoml.get_current_service().app
        await self._app(scope, receive, send)


class OwnAppService(bentoml.Service[Any]):  # type: ignore[misc]
    """A BentoML service whose requests do not pass BentoML's middleware.

    What that would do is switched off or done by us: metrics, access log, time limits. Left on, it
    costs every request half as much again, and a timer that lives on for the whole time limit.
    """

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        """Return what uvicorn serves: our app in front of BentoML's."""
        return OwnAppFirst(super().to_asgi(is_main=is_main))


@bentoml.service(
    name="mintmark",
    service_class=OwnAppService,
    workers=1,  # one engine, one device, one process; more pods scale it
    traffic={"timeout": _SETTINGS.engine.request_timeout_s + _SHELL_EXTRA_TIMEOUT_S},
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
)
class ImageGeneration:
    """One worker: an engine with its model, and the HTTP app in front of it."""

    def __init__(self) -> None:
        # BentoML imports this module in its parent process as well. What counts and serves is
        # made here, in the worker; the metrics' library reads the environment when imported.
        config.keep_metrics_in_memory()
        from service.rest.admin import AdminListener  # noqa: PLC0415
        from service.rest.app import build_admin_app, build_app  # noqa: PLC0415
        from service.rest.dependencies import RestEnvironment  # noqa: PLC0415
        from service.telemetry.metrics import Metrics  # noqa: PLC0415
        from service.telemetry.tracing import build_tracer  # noqa: PLC0415

        configure_logging(_SETTINGS.telemetry)
        logger.info("starting", extra={"settings": _SETTINGS.describe()})
        self.metrics = metrics = Metrics(installed_version())
        self.tracer = build_tracer(_SETTINGS.telemetry, installed_version(), metrics)
        self.access = _build_access()
        self.lifecycle = Lifecycle(
            lambda: _build(metrics, self.access),
            _exit_failed,
            metrics,
            startup_budget_s=_SETTINGS.server.startup_budget_s,
        )
        environment = RestEnvironment(
            version=installed_version(),
            limits=_SETTINGS.limits,
            request_timeout_s=_SETTINGS.engine.request_timeout_s,
            metrics=metrics,
            readiness=self.lifecycle,
            loaded=self.lifecycle.loaded,
            options=_SETTINGS.rest,
            tracer=self.tracer,
        )
        server = _SETTINGS.server
        is_apart = server.admin_port is not None
        self.app = build_app(environment, self.access, has_admin_port=is_apart)
        self.admin: AdminListener | None = None
        if server.admin_port is not None:
            admin_app = build_admin_app(environment)
            self.admin = AdminListener(admin_app, server.host, server.admin_port)

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    @staticmethod
    def relay_signals() -> None:
        """Have the parent pass on a second SIGTERM, which BentoML would keep to itself."""
        SignalRelay().start()

    @bentoml.on_startup  # type: ignore[untyped-decorator]
    async def start(self) -> None:
        """Take over SIGTERM and load the model in the background; requests are answered at once."""
        self.lifecycle.start()
        # After the load has begun: it must not wait for a port that cannot be had.
        try:
            self.rpc = self._build_rpc()
            await self.rpc.start()
            if self.admin is not None:
                await self.admin.start()
        except ConfigurationError as error:
            logger.critical("cannot start: %s", error)
            _exit_failed()
        self.lifecycle.follow_readiness(self.rpc.set_serving)
        lame_duck_s, listener = _SETTINGS.server.lame_duck_s, listener_fd(sys.argv)
        steps = StopSteps(
            begin_drain=self.lifecycle.begin_drain,
            refuse_calls=self.rpc.begin_drain,
            end_requests=self.lifecycle.end_requests,
            give_up=_exit_failed,
        )
        Termination(steps, lame_duck_s, listener).install()
        if listener is not None:  # a worker, whose parent holds the listening socket
            parent_watch().start()

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    async def stop(self) -> None:
        """Free everything; every HTTP request has been answered by now, gRPC calls are awaited."""
        await self.rpc.drain()
        await self.lifecycle.stop()
        if self.admin is not None:
            await self.admin.stop()
        # Last: the spans of every request that was still answered.
        await asyncio.to_thread(self.tracer.close)

    def __is_ready__(self) -> bool:
        return self.lifecycle.is_ready()

    def __is_alive__(self) -> bool:
        return self.lifecycle.is_live()

    def _build_rpc(self) -> RpcServer:
        from service.access.rpc import AccessInterceptor  # noqa: PLC0415
        from service.oip.servicer import open_inference_service  # noqa: PLC0415
        from service.rpc.dependencies import RpcEnvironment  # noqa: PLC0415
        from service.rpc.server import RpcServer, rpc_address  # noqa: PLC0415

        environment = RpcEnvironment(
            limits=_SETTINGS.limits,
            request_timeout_s=_SETTINGS.engine.request_timeout_s,
            metrics=self.metrics,
            loaded=self.lifecycle.loaded,
            refusal=self.lifecycle.refusal,
            tracer=self.tracer,
        )
        address = rpc_address(_SETTINGS.server.host, _SETTINGS.server.grpc_port)
        services = [open_inference_service(environment, self.lifecycle)]
        guards = [AccessInterceptor(self.access)]
        return RpcServer(address, environment, _SETTINGS.rpc, guards, services=services)


def _build_access() -> AccessControl:
    """Return who may call; end the process with one clear line if that cannot be as it is set."""
    bound = listening_host(listener_fd(sys.argv), _SETTINGS.server.host)
    try:
        return build_access(_SETTINGS.access, [bound, _SETTINGS.server.host])
    except ConfigurationError as error:
        logger.critical("cannot start: %s", error)
        _exit_failed()


def _build(metrics: Metrics, access: AccessControl) -> Application:
    # Imported in the load thread: the runners' libraries take seconds, and probes must not wait.
    from service.bootstrap import build_application  # noqa: PLC0415

    return build_application(_SETTINGS, metrics, access)


def _exit_failed() -> NoReturn:
    """End the worker without ceremony: nothing has been served, and a load thread may hang."""
    logging.shutdown()
    os._exit(1)


# What uvicorn picks when nobody names a protocol, as BentoML does not. The parent makes no server.
uvicorn.config.HTTP_PROTOCOLS["auto"] = "service.rest.wire:BoundedHttpProtocol"
