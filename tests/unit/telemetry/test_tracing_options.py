"""A wrong setting of tracing stops the start with one sentence that names it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from service.config import load_settings
from service.errors import ConfigurationError
from service.telemetry.metrics import Metrics
from service.telemetry.options import TelemetryOptions
from service.telemetry.tracing import NoTracer, build_tracer
from tests.otlp_kit import COLLECTORS

PREFIX = "MINTMARK_TELEMETRY__"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"OTLP_ENDPOINT": "collector:4317"}, "OTLP_ENDPOINT: must be a URL"),
        ({"OTLP_ENDPOINT": "ftp://collector:4317"}, "OTLP_ENDPOINT: must be a URL"),
        ({"OTLP_ENDPOINT": "http://"}, "OTLP_ENDPOINT: must be a URL"),
        ({"OTLP_ENDPOINT": "http://c:99999"}, "OTLP_ENDPOINT: must be a URL"),
        ({"OTLP_ENDPOINT": "http://c d:4317"}, "OTLP_ENDPOINT: must be a URL"),
        ({"OTLP_ENDPOINT": "http://collector"}, "OTLP_ENDPOINT: must have a port"),
        ({"OTLP_ENDPOINT": "http://c:1/v1/traces"}, "OTLP_ENDPOINT: must have no path"),
        ({"OTLP_ENDPOINT": "http://a:b@c:1"}, "OTLP_ENDPOINT: must have no user"),
        ({"OTLP_PROTOCOL": "http/json"}, "OTLP_PROTOCOL: Input should be 'grpc' or"),
        ({"TRACE_SAMPLE_RATIO": "1.5"}, "TRACE_SAMPLE_RATIO: Input should be less than"),
        ({"TRACE_SAMPLE_RATIO": "-0.1"}, "TRACE_SAMPLE_RATIO: Input should be greater"),
        ({"TRACE_SAMPLE_RATIO": "nan"}, "TRACE_SAMPLE_RATIO: Input should be"),
        ({"TRACE_SAMPLE_RATIO": "half"}, "TRACE_SAMPLE_RATIO: Input should be"),
        ({"OTLP_HEADERS": "just-a-name"}, "OTLP_HEADERS: must be name=value"),
        ({"OTLP_HEADERS": "a=1,,b=2"}, "OTLP_HEADERS: must be name=value"),
        ({"OTLP_HEADERS": "token-bin=1"}, "OTLP_HEADERS: must be name=value"),
        ({"OTLP_HEADERS": "GRPC-timeout=1"}, "OTLP_HEADERS: must be name=value"),
        ({"OTLP_HEADERS": "a=1\nb"}, "OTLP_HEADERS: must be name=value"),
    ],
)
def test_a_wrong_value_is_one_sentence(monkeypatch, settings, sentence):
    for name, value in settings.items():
        monkeypatch.setenv(PREFIX + name, value)
    with pytest.raises(ConfigurationError) as refused:
        load_settings()
    assert str(refused.value).startswith(PREFIX + sentence)
    assert len(str(refused.value).splitlines()) == 1


def test_good_values_are_taken_and_the_headers_are_never_shown(monkeypatch):
    monkeypatch.setenv(PREFIX + "OTLP_ENDPOINT", "https://collector.example/otlp")
    monkeypatch.setenv(PREFIX + "OTLP_PROTOCOL", "http/protobuf")
    monkeypatch.setenv(PREFIX + "OTLP_HEADERS", "Authorization=Bearer s3cret==, x-tenant = 7")
    monkeypatch.setenv(PREFIX + "TRACE_SAMPLE_RATIO", "0.25")
    settings = load_settings()
    pairs = settings.telemetry.otlp_header_pairs
    assert pairs == (("Authorization", "Bearer s3cret=="), ("x-tenant", "7"))
    assert "s3cret" not in f"{settings!r} {settings} {settings.describe()}"


def test_nothing_is_traced_by_default():
    options = TelemetryOptions()
    assert options.otlp_header_pairs == ()
    assert not options.log_prompts
    assert isinstance(build_tracer(options, "1", Metrics("test")), NoTracer)


def test_a_server_that_traces_nothing_loads_nothing_for_it():
    code = (
        "import sys, service.rest.app, service.rpc.server\n"
        "from service.telemetry.metrics import Metrics\n"
        "from service.telemetry.options import TelemetryOptions\n"
        "from service.telemetry.tracing import build_tracer\n"
        "build_tracer(TelemetryOptions(), '1', Metrics('test'))\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize("path", ["", "/", "/v1/traces", "/otlp"])
def test_a_base_url_gets_the_path_of_traces(path):
    with COLLECTORS["http/protobuf"]() as collector:
        options = TelemetryOptions(
            otlp_protocol="http/protobuf", otlp_endpoint=collector.endpoint + path
        )
        tracer = build_tracer(options, "1", Metrics("test"))
        record, facts = _served(tracer)
        tracer.finish(record, facts)
        tracer.close()
        tracer.close()  # harmless
    (headers,) = collector.headers
    assert headers[":path"] == ("/otlp/v1/traces" if path == "/otlp" else "/v1/traces")
    assert headers["content-type"] == "application/x-protobuf"


def _served(tracer):
    import time

    from service.telemetry.request_record import RequestRecord
    from service.telemetry.spans import ServerFacts

    record = RequestRecord(time.monotonic, tracer.begin(lambda name: []))
    return record, ServerFacts("GET /x", {})
