"""A collector, and the log as a machine reads it."""

from __future__ import annotations

import json
import logging

import pytest

from service.telemetry.logging import JsonFormatter, RequestIdFilter
from tests.otlp_kit import grpc_collector


@pytest.fixture
def collector():
    with grpc_collector() as listening:
        yield listening


@pytest.fixture
def log():
    """Every line of the service, as JSON, while the test runs."""
    lines = []

    class Lines(logging.Handler):
        def emit(self, record):
            lines.append(json.loads(JsonFormatter().format(record)))

    handler = Lines(logging.DEBUG)
    handler.addFilter(RequestIdFilter())
    loggers = [logging.getLogger(name) for name in ("service", "mintmark.access")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.addHandler(handler)
        each.setLevel(logging.DEBUG)
    yield lines
    for each, level in zip(loggers, levels, strict=True):
        each.removeHandler(handler)
        each.setLevel(level)
