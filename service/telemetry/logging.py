"""Logs as one JSON object (or one readable line) per event, each with its request id.

No picture is ever logged, and no prompt unless an option says so: callers' words are theirs.
"""

from __future__ import annotations

import json
import logging
import logging.config
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from service.telemetry.request_record import current_record
from service.telemetry.spans import durations_ms

if TYPE_CHECKING:
    from service.telemetry.options import TelemetryOptions

ACCESS_LOGGER = "mintmark.access"

# The request being served by the current task; threads see it when their work was copied with
# its context (`asyncio.to_thread` does, an engine thread does not).
current_request_id: ContextVar[str | None] = ContextVar("current_request_id", default=None)

# What `logging` itself puts on a record: everything else came in through `extra=`.
_STANDARD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class RequestIdFilter(logging.Filter):
    """Gives every record the ids of the request and the trace it belongs to, or None.

    The line that says how a request was answered also gets its outcome and where its time went.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add `request_id` unless the caller named one, and the rest; let every record pass."""
        if not hasattr(record, "request_id"):
            record.request_id = current_request_id.get()
        request = current_record.get()
        if request is None:
            return True
        if request.trace is not None:
            record.trace_id = request.trace.trace_id
        if record.name == ACCESS_LOGGER:
            record.outcome = request.error or "done"
            for name, duration_ms in durations_ms(request).items():
                setattr(record, name, duration_ms)
        return True


class JsonFormatter(logging.Formatter):
    """One JSON object per record, ASCII only, so a line never breaks and never fails to encode."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a JSON object: time (UTC), level, logger, message, extras."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {key: value for key, value in extras(record).items() if value is not None}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """`12:30:01 INFO    service.lifecycle  message  key=value …` for a person at a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one readable line, with the traceback below it if there is one."""
        clock = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        words = [f"{clock} {record.levelname:<7} {record.name}  {record.getMessage()}"]
        words += [f"{key}={value}" for key, value in extras(record).items() if value is not None]
        line = "  ".join(words)
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def extras(record: logging.LogRecord) -> dict[str, Any]:
    """Return what the caller attached to `record` with `extra=`."""
    return {key: value for key, value in vars(record).items() if key not in _STANDARD_ATTRIBUTES}


def logging_config(options: TelemetryOptions) -> dict[str, Any]:
    """Return the `logging.config.dictConfig` form of `options`; everything goes to stdout."""
    formatter = JsonFormatter if options.log_format == "json" else TextFormatter
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"request_id": {"()": RequestIdFilter}},
        "formatters": {"line": {"()": formatter}},
        "handlers": {
            "stdout": {
                "class": "logging.StreamHandler",
                "stream": "ext://sys.stdout",
                "formatter": "line",
                "filters": ["request_id"],
            }
        },
        "root": {"handlers": ["stdout"], "level": "WARNING"},
        "loggers": {
            "service": {"level": options.log_level.upper()},
            "models": {"level": options.log_level.upper()},
            ACCESS_LOGGER: {"level": "INFO" if options.access_log else "ERROR"},
            # The shell brings handlers of its own; one process writes one format.
            "bentoml": {"handlers": [], "level": "WARNING", "propagate": True},
            "uvicorn.error": {"handlers": [], "level": "WARNING", "propagate": True},
            "circus": {"handlers": [], "level": "WARNING", "propagate": True},
        },
    }


def configure_logging(options: TelemetryOptions) -> None:
    """Make this process log as `options` say, whatever was configured before."""
    logging.config.dictConfig(logging_config(options))
