"""The BentoML service: BentoML runs the process, our own app answers every request."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

import bentoml

from service import config
from service.errors import ConfigurationError
from service.lifecycle import Lifecycle
from service.telemetry.logging import configure_logging
from service.termination import Termination, listener_fd
from service.version import installed_version

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from service.bootstrap import Application
    from service.config import Settings
    from service.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

# BentoML times every request too, and answers in a shape of its own. Ours ends first.
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

    def __init__(self, app: ASGIApp) -> None:
        self._shell = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope; the lifespan stays with BentoML."""
        if scope["type"] == "lifespan":
            await self._shell(scope, receive, send)
        else:
            await bentoml.get_current_service().app(scope, receive, send)


@bentoml.service(
    name="mintmark",
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
        from service.rest.app import build_app  # noqa: PLC0415
        from service.rest.dependencies import RestEnvironment  # noqa: PLC0415
        from service.telemetry.metrics import Metrics  # noqa: PLC0415

        configure_logging(_SETTINGS.telemetry)
        logger.info("starting", extra={"settings": _SETTINGS.describe()})
        metrics = Metrics(installed_version())
        self.lifecycle = Lifecycle(lambda: _build(metrics), _exit_failed, metrics)
        self.app = build_app(
            RestEnvironment(
                version=installed_version(),
                limits=_SETTINGS.limits,
                request_timeout_s=_SETTINGS.engine.request_timeout_s,
                metrics=metrics,
                readiness=self.lifecycle,
                loaded=self.lifecycle.loaded,
            )
        )

    @bentoml.on_startup  # type: ignore[untyped-decorator]
    async def start(self) -> None:
        """Take over SIGTERM and load the model in the background; requests are answered at once."""
        Termination(
            self.lifecycle.begin_drain, _SETTINGS.server.lame_duck_s, listener_fd(sys.argv)
        ).install()
        self.lifecycle.start()
        # After the load has begun: it must not wait for a port that cannot be had.
        from service.rpc.server import RpcServer  # noqa: PLC0415

        self.rpc = RpcServer(_SETTINGS.server.host, _SETTINGS.server.grpc_port)
        try:
            await self.rpc.start()
        except ConfigurationError as error:
            logger.critical("cannot start: %s", error)
            _exit_failed()
        self.lifecycle.follow_readiness(self.rpc.set_serving)

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    async def stop(self) -> None:
        """Free everything; every HTTP request has been answered by now."""
        await self.lifecycle.stop()
        await self.rpc.stop()

    def __is_ready__(self) -> bool:
        return self.lifecycle.is_ready()

    def __is_alive__(self) -> bool:
        return self.lifecycle.is_live()


def _build(metrics: Metrics) -> Application:
    # Imported in the load thread: the runners' libraries take seconds, and probes must not wait.
    from service.bootstrap import build_application  # noqa: PLC0415

    return build_application(_SETTINGS, metrics)


def _exit_failed() -> None:
    """End the worker without ceremony: nothing has been served, and a load thread may hang."""
    logging.shutdown()
    os._exit(1)


ImageGeneration.add_asgi_middleware(OwnAppFirst)  # type: ignore[attr-defined]
