"""The reference pages say what the code says, and the tables they are made from hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.config import setting_names
from service.domain.identity import new_request_id
from service.errors import ServiceError
from service.reference import PAGES, error_classes, main
from service.rest.error_response import error_response
from service.telemetry.metric_table import METRICS
from service.telemetry.metrics import Metrics

DOCS = Path(__file__).parents[2] / "docs"
GRPC_STATUSES = {
    "INVALID_ARGUMENT",
    "UNAUTHENTICATED",
    "PERMISSION_DENIED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "UNIMPLEMENTED",
    "RESOURCE_EXHAUSTED",
    "CANCELLED",
    "UNAVAILABLE",
    "DEADLINE_EXCEEDED",
    "INTERNAL",
}
ERRORS = pytest.mark.parametrize("error", error_classes(), ids=lambda error: error.__name__)


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_up_to_date(name):
    written = (DOCS / name).read_text(encoding="utf-8")
    assert written == PAGES[name](), "run `make docs`"


def test_the_pages_are_written_where_they_are_wanted(tmp_path):
    assert main([str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == set(PAGES)
    assert main([]) == 2


def test_every_metric_error_and_setting_is_on_its_page():
    for metric in METRICS:
        assert f"| `{metric.name}` | {metric.type} |" in PAGES["metrics.md"]()
    for error in error_classes():
        row = f"| `{error.code}` | {error.http_status} | {error.grpc_status} |"
        assert row in PAGES["errors.md"]()
    for _, _, variable in setting_names():
        assert f"| `{variable}` |" in PAGES["configuration.md"]()


def test_every_metric_of_the_table_is_exposed_under_its_name():
    exposed = Metrics("test").exposition().decode()
    for metric in (metric for metric in METRICS if not metric.is_optional):
        assert f"# TYPE {metric.name} {metric.type}\n" in exposed
        assert f"# HELP {metric.name} {metric.help}\n" in exposed


def test_no_metric_is_exposed_that_the_table_does_not_have():
    exposed = Metrics("test").exposition().decode().splitlines()
    types = [line.split()[2] for line in exposed if line.startswith("# TYPE ")]
    ours = [name for name in types if not name.startswith("process_")]
    assert sorted(ours) == sorted(metric.name for metric in METRICS if not metric.is_optional)


@pytest.mark.parametrize("metric", [m for m in METRICS if m.is_optional], ids=lambda m: m.name)
def test_an_optional_metric_is_exposed_once_it_has_a_value(metric):
    metrics = Metrics("test")
    assert metric.name not in metrics.exposition().decode()
    labels = [f"a {label}" for label in metric.labels]
    if metric.type == "counter":
        metrics.count(metric, *labels, amount=2)
    else:
        metrics.set(metric, 2, *labels)
    shown = ",".join(f'{name}="a {name}"' for name in sorted(metric.labels))
    series = f"{metric.name}{{{shown}}}" if shown else metric.name
    assert f"\n{series} 2.0\n" in metrics.exposition().decode()


def test_metric_names_follow_prometheus():
    for metric in METRICS:
        assert metric.name.startswith("mintmark_")
        assert metric.name.endswith("_total") == (metric.type == "counter")
        assert bool(metric.buckets) == (metric.type == "histogram")
        assert list(metric.buckets) == sorted(set(metric.buckets))
        assert metric.help.endswith(".")


@ERRORS
def test_every_error_has_a_status_on_both_transports(error: type[ServiceError]):
    assert 400 <= error.http_status < 600
    assert error.grpc_status in GRPC_STATUSES


@ERRORS
def test_only_retryable_errors_tell_callers_to_come_back(error: type[ServiceError]):
    response = error_response(error("message"), new_request_id())
    assert response.status_code == error.http_status
    assert ("retry-after" in response.headers) == error.retryable
    assert ("retry-after-ms" in response.headers) == error.retryable
    is_repeated = error.http_status in {408, 409, 429} or error.http_status >= 500
    is_final = is_repeated and not error.retryable
    assert (response.headers.get("x-should-retry") == "false") == is_final


@ERRORS
def test_a_500_never_shows_its_message(error: type[ServiceError]):
    response = error_response(error("a secret path"), new_request_id())
    assert (b"a secret path" in response.body) == (error.http_status != 500)


def test_error_codes_are_unique():
    codes = [error.code for error in error_classes()]
    assert len(codes) == len(set(codes))
