"""The lower half of the service's dashboard: latency and queue, replicas, provenance."""

from __future__ import annotations

from deploy.dashboards.layout import Panel, Query, Row, quantile, threshold, total_rate, where

MODEL = 'model=~"$model"'
NO_PROBES = 'route!~"/readyz|/livez|/healthz|/metrics"'
DAY_S = 86400

LATENCY = Row(
    "Latency and queue",
    (
        Panel(
            "Time of a request",
            "From acceptance to signed pictures, by model; successful requests only.",
            "s",
            (
                Query(quantile(0.5, "mintmark_request_seconds", "model", MODEL), "{{model}} p50"),
                Query(quantile(0.95, "mintmark_request_seconds", "model", MODEL), "{{model}} p95"),
                threshold("request_p95_seconds"),
            ),
        ),
        Panel(
            "Time in the queue",
            "Before the first image of a request joined the running batch.",
            "s",
            (
                Query(quantile(0.5, "mintmark_queue_seconds", ""), "p50"),
                Query(quantile(0.95, "mintmark_queue_seconds", ""), "p95"),
            ),
        ),
        Panel(
            "Time of an HTTP answer, p95",
            "From the first byte of the request to the last of the answer, streams included.",
            "s",
            (
                Query(
                    quantile(0.95, "mintmark_http_request_seconds", "route", NO_PROBES),
                    "{{route}}",
                ),
            ),
        ),
        Panel(
            "Work waiting",
            "Seconds of the engine's time that each replica has accepted and not done.",
            "s",
            (
                Query(f"mintmark_queued_work_seconds{where()}", "{{pod}}"),
                threshold("queued_work_seconds"),
            ),
        ),
        Panel(
            "Images waiting",
            "Accepted and not yet running.",
            "none",
            (Query(f"mintmark_queue_depth{where()}", "{{pod}}"),),
        ),
        Panel(
            "Time of a gRPC call, p95",
            "From the request to the end of the answer, streams included.",
            "s",
            (Query(quantile(0.95, "mintmark_rpc_call_seconds", "method"), "{{method}}"),),
        ),
    ),
)

REPLICAS = Row(
    "Replicas",
    (
        Panel(
            "Ready",
            "1 while a replica takes new work, as /readyz says.",
            "bool_on_off",
            (Query(f"mintmark_ready{where()}", "{{pod}}"),),
            max_value=1,
        ),
        Panel(
            "Alive",
            "0 once only a restart helps, as /livez says.",
            "bool_on_off",
            (Query(f"mintmark_alive{where()}", "{{pod}}"),),
            max_value=1,
        ),
        Panel(
            "Versions",
            "Replicas by the version they run.",
            "none",
            (Query(f"count by (version) (mintmark_build_info{where()})", "{{version}}"),),
        ),
    ),
)

PROVENANCE = Row(
    "Provenance",
    (
        Panel(
            "Signing certificates",
            "Days until it expires, by replica. They differ while a new one is rolled out.",
            "d",
            (
                Query(f"mintmark_signer_expiry_seconds{where()} / {DAY_S}", "{{pod}}"),
                Query(f"mintmark:threshold:signer_critical_seconds / {DAY_S}", "threshold"),
            ),
            min_value=None,  # negative once it has expired
        ),
        Panel(
            "Ledger",
            "Time of an entry, and the age of the oldest that is still being written.",
            "s",
            (
                Query(quantile(0.99, "mintmark_ledger_write_seconds", ""), "p99"),
                Query(f"max(mintmark_ledger_lag_seconds{where()})", "oldest"),
                threshold("ledger_write_p99_seconds"),
            ),
        ),
        Panel(
            "Pictures stored for links",
            "By storage and outcome. A picture that failed was drawn, and its caller has an error.",
            "cps",
            (
                Query(
                    total_rate("mintmark_stored_pictures_total", "storage, outcome"),
                    "{{storage}} {{outcome}}",
                ),
            ),
        ),
    ),
)
