"""Log lines are one JSON object each, with the request id, whatever is in them."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from service.telemetry.logging import (
    JsonFormatter,
    RequestIdFilter,
    TextFormatter,
    current_request_id,
    logging_config,
)
from service.telemetry.options import TelemetryOptions


@pytest.fixture
def record():
    made = logging.makeLogRecord(
        {
            "name": "service.x",
            "levelno": logging.INFO,
            "levelname": "INFO",
            "msg": "did %d",
            "args": (3,),
            "created": 0.25,
            "status": 200,
        }
    )
    RequestIdFilter().filter(made)
    return made


def test_a_line_is_one_json_object(record):
    assert json.loads(JsonFormatter().format(record)) == {
        "time": "1970-01-01T00:00:00.250+00:00",
        "level": "info",
        "logger": "service.x",
        "message": "did 3",
        "status": 200,
    }


def test_the_request_id_comes_from_the_running_task():
    token = current_request_id.set("req_7")
    try:
        record = logging.makeLogRecord({"msg": "x"})
        RequestIdFilter().filter(record)
    finally:
        current_request_id.reset(token)
    assert json.loads(JsonFormatter().format(record))["request_id"] == "req_7"


def test_a_named_request_id_wins():
    record = logging.makeLogRecord({"msg": "x", "request_id": "req_own"})
    token = current_request_id.set("req_7")
    RequestIdFilter().filter(record)
    current_request_id.reset(token)
    assert json.loads(JsonFormatter().format(record))["request_id"] == "req_own"


def test_line_breaks_and_surrogates_stay_inside_the_line():
    record = logging.makeLogRecord({"msg": "a\nb \ud800", "value": object()})
    line = JsonFormatter().format(record)
    assert line.isascii()
    assert "\n" not in line
    assert json.loads(line)["message"] == "a\nb \ud800"


def test_a_traceback_is_part_of_the_line():
    try:
        dict[str, int]()["cause"]
    except KeyError:
        record = logging.makeLogRecord({"msg": "x", "exc_info": sys.exc_info()})
    assert "KeyError: 'cause'" in json.loads(JsonFormatter().format(record))["exception"]
    assert "KeyError: 'cause'" in TextFormatter().format(record)


def test_text_is_for_people(record):
    line = TextFormatter().format(record)
    assert "INFO    service.x  did 3  status=200" in line
    assert "request_id" not in line


def test_levels_follow_the_options():
    config = logging_config(TelemetryOptions(log_level="debug", access_log=False))
    assert config["loggers"]["service"]["level"] == "DEBUG"
    assert config["loggers"]["mintmark.access"]["level"] == "ERROR"
    assert config["formatters"]["line"]["()"] is JsonFormatter
    text = logging_config(TelemetryOptions(log_format="text"))
    assert text["formatters"]["line"]["()"] is TextFormatter
