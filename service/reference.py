"""Writes the reference pages of docs/ from the tables in the code.

`python -m service.reference docs`. A contract test compares the pages with what this would write.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import PydanticUndefined

from service.config import Settings, setting_names
from service.errors import ServiceError
from service.rest.openapi import build_document
from service.telemetry.metric_table import METRICS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_EXPLANATION = re.compile(r"`?[a-z_]+`?(, `[a-z_]+`)*:")

_METRICS_INTRODUCTION = """\
# Metrics

`GET /metrics` answers in Prometheus' text format, also while the model loads and while the server
drains. Beside the table, the process's own metrics (`process_*`: CPU time, memory, open files) are
exposed. Times are in seconds. Labels never hold a raw path, a prompt or anything else a caller
writes, so the number of series is bounded: `route` is a template of the HTTP app, `size` one of the
sizes that a model lists, `outcome` and `reason` are codes of [errors.md](errors.md).

Metrics that this machine cannot tell are absent, not zero: `mintmark_model_memory_bytes` without a
runner that knows it, `mintmark_energy_joules_total` without a counter in the hardware. So is
`mintmark_signer_expiry_seconds` until the certificate has been read.
"""

_METRICS_QUESTIONS = """\
## Which metric answers which question

- **Is it keeping up?** `mintmark_queued_work_seconds`, `mintmark_queue_depth`, and the mean of
  `mintmark_queue_seconds`. Scale on the first, not on CPU time.
- **Is the engine idle?** `rate(mintmark_engine_busy_seconds_total[5m])` is the share of time in
  which it worked. A turn of the engine counts when it ends.
- **Are callers turned away?** `mintmark_admission_refusals_total`, by reason.
- **Is batching worth it?** The mean of `mintmark_batch_rows` against `mintmark_step_seconds`, each
  by `model` and `size`: images share a call of the denoiser only if both agree.
- **Where is a deadline missed?** `mintmark_deadline_misses_total`: `queued` asks for more replicas,
  `running` for fewer steps or a longer limit. What `mintmark_requests_total` counts as
  `deadline_exceeded` beyond these was missed after the engine, while pictures were marked.
- **How soon does a cancel free the engine?** `mintmark_cancel_seconds`: between two calls of the
  denoiser, so it takes about as long as the rest of one.
- **How much does a model take?** `mintmark_model_weights_bytes` on disk. In memory,
  `mintmark_model_memory_bytes` with the torch runner; ONNX Runtime does not tell, so there the
  process's `process_resident_memory_bytes` is all there is.
- **What does provenance cost?** `mintmark_marking_seconds`, by stage, against
  `mintmark_request_seconds`.
- **Does the signer run out?** `mintmark_signer_expiry_seconds / 86400` is in days. The rules of the
  chart warn at 30 days and wake somebody at 7.
- **Does the ledger keep up?** `mintmark_ledger_write_seconds`. A record is written before its
  picture is handed out, and nothing is queued, so `mintmark_ledger_lag_seconds` is 0 or the age of
  a write that is under way. If it grows, the database hangs. With SQLite "written" survives a crash
  of the process, not of the machine.
- **Do pictures by link get through?** `mintmark_stored_pictures_total` by outcome,
  `mintmark_stored_bytes_total`, `mintmark_store_seconds`; a full folder is in
  `mintmark_admission_refusals_total{reason="storage_full"}`.
- **Does every picture that is drawn get out?** `mintmark_requests_total` by outcome:
  `signing_failed`, `watermark_failed`, `encoding_failed` and `ledger_failed` are requests whose
  pictures were withheld because a mark was missing.

## How queued work is estimated

`mintmark_queued_work_seconds` is the sum, over every image that waits or runs, of

    rows of the image × steps it has left × seconds per row

An image has one row, with guidance two. Seconds per row are an exponential moving average (weight
0.1) of the duration of denoiser calls divided by their rows, kept for each model and size. A size
that has not been drawn yet counts by its latent positions, at the cost of the model's dearest size;
a model that has not drawn yet, at that of the others. Before the first step of all it is 0.

It is the denoiser's time on this replica. Encoding prompts, decoding and marking are not in it. It
assumes that calls stay as full as they were lately: where a full batch costs less per row, it is
too high after a quiet time and comes down as the batch fills.

## Energy

`mintmark_energy_joules_total` is what the hardware counts, by `source`:

- `rapl:package-0` and further ones: a processor, from `/sys/class/powercap/intel-rapl:*` (Intel and
  AMD). `rapl:package-0/dram`: its memory, where that has a counter of its own.
- `nvml:0`: a GPU, from NVML, with the extra `gpu` and if the models run on CUDA.

Linux lets only root read RAPL, and containers seldom see it; then there is no such source. Where
NVML sees several GPUs, `MINTMARK_TELEMETRY__ENERGY_GPU` says which one computes; without it, none
is counted. `MINTMARK_TELEMETRY__ENERGY=false` reads nothing. A counter is read every five seconds
and after each call of the denoiser; one that fails is given up, and its count stands still.

The answer to a request has `energy` (`joules`, `joules_per_image`, `sources`; over gRPC, in `done`)
where there is a source. What is counted between two readings is shared among the requests of the
step that lies between them, by their rows; decoding a picture counts for its request. What is
counted while the engine waits belongs to nobody, marking is not told apart, and other processes on
the device are in it. Without `energy` it is not known, or not for the whole of the request.
"""

_ERRORS_INTRODUCTION = """\
# Errors

Over HTTP every error, on every route, has OpenAI's shape:

```json
{"error": {"message": "…", "type": "server_error", "param": null, "code": "queue_full"}}
```

`param` names the field of the request at fault, if one is. Every answer, errors and probes
included, carries `x-request-id`. A 500 has a fixed message with that id; the log has the rest under
it. Retryable errors carry `Retry-After` and `retry-after-ms`; every other error that OpenAI's
client would repeat (5xx, 409) carries `x-should-retry: false`, because it would fail again, or
generate the picture again. How to repeat a request without paying twice:
[access.md](access.md).
"""

_CONFIGURATION_INTRODUCTION = """\
# Configuration

Every setting is an environment variable. An unknown `MINTMARK_…` name stops the start, so that a
typo never switches a limit off. The effective settings, secrets masked, are the first line a server
logs.
"""


def metrics_page() -> str:
    """Return docs/metrics.md."""
    rows = [
        (f"`{metric.name}`", metric.type, _codes(metric.labels), metric.help) for metric in METRICS
    ]
    table = _table(("Metric", "Type", "Labels", "Meaning"), rows)
    return "\n".join([_METRICS_INTRODUCTION, table, _METRICS_QUESTIONS])


def errors_page() -> str:
    """Return docs/errors.md."""
    rows = [
        (
            f"`{error.code}`",
            str(error.http_status),
            error.grpc_status,
            f"`{error.error_type}`",
            "yes" if error.retryable else "no",
            _first_line(error.__doc__),
        )
        for error in error_classes()
    ]
    return "\n".join(
        [_ERRORS_INTRODUCTION, _table(("Code", "HTTP", "gRPC", "Type", "Retry", "Meaning"), rows)]
    )


def configuration_page() -> str:
    """Return docs/configuration.md: every section with its options' own explanation."""
    parts = [_CONFIGURATION_INTRODUCTION]
    for section, info in Settings.model_fields.items():
        options: Any = info.annotation
        rows = []
        for owner, field, variable in setting_names():
            if owner == section:
                setting = options.model_fields[field]
                rows.append((f"`{variable}`", f"`{_type(setting.annotation)}`", _default(setting)))
        parts += [f"## {section}\n", _prose(options.__doc__)]
        parts.append(_table(("Variable", "Type", "Default"), rows))
    return "\n".join(parts)


def openapi_page() -> str:
    """Return docs/openapi.json, which is also what a server answers at /openapi.json."""
    return json.dumps(build_document(), indent=2, ensure_ascii=False) + "\n"


PAGES: Mapping[str, Callable[[], str]] = {
    "metrics.md": metrics_page,
    "errors.md": errors_page,
    "configuration.md": configuration_page,
    "openapi.json": openapi_page,
}


def error_classes() -> list[type[ServiceError]]:
    """Return every error that a caller can see, by HTTP status and code."""
    found: list[type[ServiceError]] = []
    waiting = ServiceError.__subclasses__()
    while waiting:
        error = waiting.pop()
        found.append(error)
        waiting += error.__subclasses__()
    ours = [error for error in found if error.__module__ == ServiceError.__module__]
    return sorted(ours, key=lambda error: (error.http_status, error.code))


def main(arguments: Sequence[str]) -> int:
    """Write every page into the folder named by the only argument; return the exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m service.reference FOLDER\n")
        return 2
    for name, page in PAGES.items():
        (Path(arguments[0]) / name).write_text(page(), encoding="utf-8")
    return 0


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def _codes(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "–"


def _first_line(docstring: str | None) -> str:
    return (docstring or "").strip().split("\n")[0]


def _prose(docstring: str | None) -> str:
    lines = [line.strip() for line in (docstring or "").strip().splitlines()]
    # An option's explanation becomes a list item; the lines that continue it stay with it.
    items = [f"- {line}" if _EXPLANATION.match(line) else line for line in lines]
    return "\n".join(items) + "\n"


def _type(annotation: Any) -> str:
    name = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    for prefix in ("typing.", "pathlib.", "pydantic.types."):
        name = name.replace(prefix, "")
    return name


def _default(setting: Any) -> str:
    if setting.default_factory is not None:
        return "`~/.local/state/mintmark`"
    if setting.default is PydanticUndefined:
        return "required"
    return "–" if setting.default is None else f"`{setting.default}`"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
