"""The dashboard for whoever is on call: are callers served, and is every picture marked."""

from __future__ import annotations

from deploy.dashboards.layout import Dashboard, Limit, Panel, Query, Row, total_rate, where
from deploy.dashboards.service_load import (
    DAY_S,
    LATENCY,
    MODEL,
    NO_PROBES,
    PROVENANCE,
    REPLICAS,
)

_WITHHELD = 'outcome=~"signing_failed|watermark_failed|encoding_failed|ledger_failed"'


def _chosen(recorded: str) -> str:
    """Return a recorded series of a job, for the jobs that are chosen."""
    return f'{recorded}{{namespace=~"$namespace", job=~"$job"}}'


_NOW = Row(
    "Now",
    (
        Panel(
            "Ready replicas",
            "Replicas that take new work. None: nobody is served.",
            "none",
            (Query(f"sum(mintmark_ready{where()})", "ready"),),
            kind="stat",
            width=4,
            limits=(Limit(1, "green"),),
            base_color="red",
        ),
        Panel(
            "Alerts firing",
            "Alerts of these rules, of any severity. deploy/runbook.md has a section for each.",
            "none",
            (
                Query(
                    'count(ALERTS{alertname=~"Mintmark.+", alertstate="firing"}) or vector(0)',
                    "firing",
                ),
            ),
            kind="stat",
            width=4,
            limits=(Limit(1, "red"),),
        ),
        Panel(
            "Failed requests, last hour",
            "Share of generation requests that failed by our fault. The objective allows 0.5 %.",
            "percentunit",
            (
                Query(
                    f"max({_chosen('mintmark:requests_failed:ratio_rate1h')}) or vector(0)",
                    "failed",
                ),
            ),
            kind="stat",
            width=4,
            limits=(Limit(0.005, "orange"), Limit(0.03, "red")),
            decimals=2,
        ),
        Panel(
            "Slowest model, p95",
            "One request in twenty for the slowest model takes longer.",
            "s",
            (Query(f"max({_chosen('mintmark:request_seconds:p95_10m')})", "p95"),),
            kind="stat",
            width=4,
            limits=(Limit(30, "orange"), Limit(120, "red")),
            decimals=1,
        ),
        Panel(
            "Work waiting, worst replica",
            "Seconds of the engine's time that one replica has accepted and not done.",
            "s",
            (Query(f"max(mintmark_queued_work_seconds{where()})", "work"),),
            kind="stat",
            width=4,
            limits=(Limit(15, "orange"), Limit(30, "red")),
            decimals=1,
        ),
        Panel(
            "Signing certificate",
            "Days until the first signing certificate expires. At 0 no picture leaves any more.",
            "d",
            (Query(f"min(mintmark_signer_expiry_seconds{where()}) / {DAY_S}", "days"),),
            kind="stat",
            width=4,
            limits=(Limit(7, "orange"), Limit(30, "green")),
            base_color="red",
            decimals=0,
        ),
    ),
)

_TRAFFIC = Row(
    "Traffic",
    (
        Panel(
            "Generation requests by outcome",
            "How requests end, whatever transport they came through. docs/errors.md has the codes.",
            "reqps",
            (Query(total_rate("mintmark_requests_total", "outcome", MODEL), "{{outcome}}"),),
            is_stacked=True,
        ),
        Panel(
            "HTTP requests by route",
            "Everything HTTP answers, probes and scrapes left out.",
            "reqps",
            (Query(total_rate("mintmark_http_requests_total", "route", NO_PROBES), "{{route}}"),),
            is_stacked=True,
        ),
        Panel(
            "gRPC calls by method",
            "Calls ended, health checks included.",
            "reqps",
            (Query(total_rate("mintmark_rpc_calls_total", "method"), "{{method}}"),),
            is_stacked=True,
        ),
        Panel(
            "Pictures handed out",
            "Signed pictures, by format. A request may have several.",
            "cps",
            (Query(total_rate("mintmark_images_total", "format", MODEL), "{{format}}"),),
            is_stacked=True,
        ),
        Panel(
            "Verifications by verdict",
            "Uploaded pictures that were examined. docs/provenance.md has the verdicts.",
            "cps",
            (Query(total_rate("mintmark_verifications_total", "verdict"), "{{verdict}}"),),
            is_stacked=True,
        ),
        Panel(
            "In flight",
            "Requests being served right now.",
            "none",
            (
                Query(f"sum(mintmark_http_requests_in_flight{where()})", "HTTP"),
                Query(f"sum(mintmark_rpc_calls_in_flight{where()})", "gRPC"),
            ),
        ),
    ),
)

_ERRORS = Row(
    "Errors",
    (
        Panel(
            "Failed requests",
            "Share of generation requests that failed by our fault. The line is the error budget.",
            "percentunit",
            (
                Query(_chosen("mintmark:requests_failed:ratio_rate5m"), "{{job}}, 5 min"),
                Query(_chosen("mintmark:requests_failed:ratio_rate1h"), "{{job}}, 1 h"),
                Query("1 - mintmark:threshold:availability_objective", "threshold"),
            ),
        ),
        Panel(
            "HTTP answers that are errors",
            "By route and status. 4xx are callers' errors; 5xx are ours.",
            "reqps",
            (
                Query(
                    total_rate(
                        "mintmark_http_requests_total",
                        "route, status",
                        f'status=~"[45]..", {NO_PROBES}',
                    ),
                    "{{status}} {{route}}",
                ),
            ),
        ),
        Panel(
            "gRPC calls that failed",
            "By method and status code.",
            "reqps",
            (
                Query(
                    total_rate("mintmark_rpc_calls_total", "method, code", 'code!="OK"'),
                    "{{code}} {{method}}",
                ),
            ),
        ),
        Panel(
            "Callers turned away",
            "Requests refused before anything was started, by reason.",
            "reqps",
            (Query(total_rate("mintmark_admission_refusals_total", "reason"), "{{reason}}"),),
        ),
        Panel(
            "Deadlines missed",
            "Requests stopped at their deadline: before they ran, or while.",
            "reqps",
            (Query(total_rate("mintmark_deadline_misses_total", "where"), "{{where}}"),),
        ),
        Panel(
            "Pictures withheld",
            "Requests whose pictures were drawn and not handed out, because a mark was missing.",
            "reqps",
            (Query(total_rate("mintmark_requests_total", "outcome", _WITHHELD), "{{outcome}}"),),
        ),
    ),
)

SERVICE = Dashboard(
    "mintmark-service",
    "Mintmark service",
    "For whoever is on call: are callers served, and does every picture leave marked.",
    (_NOW, _TRAFFIC, _ERRORS, LATENCY, REPLICAS, PROVENANCE),
)
