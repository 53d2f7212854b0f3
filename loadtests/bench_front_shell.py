"""The benchmark's front door inside BentoML's shell, set up as `service.bento` sets it up."""

from __future__ import annotations

import gc

import bentoml

from service import config
from service.bento import OwnAppService
from service.telemetry.logging import configure_logging
from service.telemetry.options import TelemetryOptions


@bentoml.service(
    name="mintmark-benchmark",
    service_class=OwnAppService,
    workers=1,
    traffic={"timeout": 360.0},
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
)
class FrontShell:
    """The HTTP app over the benchmark's parts; gRPC does not pass the shell and is left out."""

    def __init__(self) -> None:
        config.keep_metrics_in_memory()
        from loadtests.bench_front_parts import Parts

        configure_logging(TelemetryOptions())
        self.parts = Parts()
        self.app = self.parts.http_app()
        gc.collect()
        gc.freeze()

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def stop(self) -> None:
        """Stop the engine."""
        self.parts.close()
