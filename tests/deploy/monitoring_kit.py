"""A real service, scraped by a real Prometheus, whose alerts a real Alertmanager delivers."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.deploy.kit import CHART, ROOT, tool
from tests.e2e.server import Server, free_ports

RULES = CHART / "files" / "rules"
DASHBOARDS = CHART / "files" / "dashboards"
RULES_TESTS = ROOT / "deploy" / "rules-tests"
RUNBOOK = ROOT / "deploy" / "runbook.md"
# What the operator attaches to every series of a pod.
TARGET = {"namespace": "pictures", "job": "mintmark", "pod": "mintmark-0", "container": "mintmark"}
START_S = 60.0
_DEBIAN_TEMPLATES = b"/usr/share/prometheus/alertmanager"

Rule = dict[str, Any]


@cache
def rules() -> list[Rule]:
    """Return every recording and alerting rule of the chart."""
    return [
        rule
        for path in sorted(RULES.glob("*.yaml"))
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
    ]


def alerts() -> dict[str, Rule]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def panels(path: Path) -> list[dict[str, Any]]:
    """Return the panels of a dashboard that have queries."""
    dashboard = json.loads(path.read_text(encoding="utf-8"))
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


@dataclass
class Prometheus:
    """A Prometheus that scrapes every second and evaluates the chart's rules as often."""

    url: str
    started_at_s: float

    def get(self, path: str, **parameters: str) -> Any:
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=30).json()
        assert answer["status"] == "success", (parameters, answer)
        return answer["data"]

    def series(self, expr: str) -> list[dict[str, Any]]:
        """Return what an expression gave since the start; values are (time, text) pairs."""
        data = self.get(
            "query_range",
            query=expr,
            start=str(self.started_at_s),
            end=str(time.time()),
            step="1",
        )
        found: list[dict[str, Any]] = data["result"]
        return found


@dataclass
class Inbox:
    """A webhook receiver; `alerts` are those delivered so far."""

    url: str = ""
    alerts: list[dict[str, Any]] = field(default_factory=list)

    def wait_for(self, name: str, timeout_s: float) -> dict[str, Any]:
        ends_at_s = time.monotonic() + timeout_s
        while time.monotonic() < ends_at_s:
            for alert in list(self.alerts):
                if alert["labels"]["alertname"] == name and alert["status"] == "firing":
                    return alert
            time.sleep(0.2)
        names = sorted({alert["labels"]["alertname"] for alert in self.alerts})
        raise AssertionError(f"{name} was not delivered within {timeout_s} s; there came {names}")


@contextmanager
def open_inbox() -> Iterator[Inbox]:
    inbox = Inbox()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            inbox.alerts.extend(body["alerts"])
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        inbox.url = f"http://127.0.0.1:{server.server_port}/"
        thread = threading.Thread(target=server.serve_forever, name="inbox")
        thread.start()
        try:
            yield inbox
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def run_alertmanager(folder: Path, receiver_url: str) -> Iterator[str]:
    """Yield the address of an Alertmanager that sends every alert on at once, one by one."""
    (port,) = free_ports(1)
    route = {
        "receiver": "inbox",
        "group_by": ["..."],
        "group_wait": "0s",
        "group_interval": "1s",
    }
    receiver = {"name": "inbox", "webhook_configs": [{"url": receiver_url}]}
    config = {"route": route, "receivers": [receiver]}
    command = [
        str(_relocated(Path(tool("prometheus-alertmanager")), folder)),
        f"--config.file={_written(folder / 'alertmanager.yaml', config)}",
        f"--storage.path={folder / 'alertmanager'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    with _running(command, folder / "alertmanager.log", f"http://127.0.0.1:{port}"):
        yield f"127.0.0.1:{port}"


@contextmanager
def run_prometheus(folder: Path, server: Server, alertmanager: str) -> Iterator[Prometheus]:
    """Yield a Prometheus that reads the chart's rules; no alert of these waits for its `for`."""
    (port,) = free_ports(1)
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [
            str(_written(folder / "rules" / path.name, _at_once(path)))
            for path in RULES.glob("*.yaml")
        ],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
        "scrape_configs": [
            {
                "job_name": TARGET["job"],
                "static_configs": [
                    {"targets": [f"127.0.0.1:{server.http_port}"], "labels": TARGET}
                ],
            }
        ],
    }
    url = f"http://127.0.0.1:{port}"
    command = [
        tool("prometheus"),
        f"--config.file={_written(folder / 'prometheus.yaml', config)}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with _running(command, folder / "prometheus.log", url):
        yield Prometheus(url, time.time())


def _relocated(program: Path, folder: Path) -> Path:
    """Return an Alertmanager that reads its templates from its working directory.

    Debian's reads them from a folder that only root can make. A webhook uses none of them, but
    they must be there.
    """
    content = program.read_bytes()
    if _DEBIAN_TEMPLATES not in content:
        return program
    copy = folder / program.name
    copy.write_bytes(content.replace(_DEBIAN_TEMPLATES, b"./" * (len(_DEBIAN_TEMPLATES) // 2)))
    copy.chmod(0o755)
    for name in ("default.tmpl", "email.tmpl"):
        (folder / name).touch()
    return copy


def _at_once(path: Path) -> dict[str, Any]:
    """Return a rule file whose alerts fire as soon as their expression holds."""
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    for group in content["groups"]:
        for rule in group["rules"]:
            rule.pop("for", None)
    return content


def _written(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@contextmanager
def _running(command: list[str], log_path: Path, url: str) -> Iterator[None]:
    with ExitStack() as held:
        log = held.enter_context(log_path.open("wb"))
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, cwd=log_path.parent
        )
        held.callback(_stop, process)
        ends_at_s = time.monotonic() + START_S
        while not _is_ready(url):
            said = log_path.read_text(errors="replace")
            assert process.poll() is None, said
            assert time.monotonic() < ends_at_s, f"{command[0]} did not start:\n{said}"
            time.sleep(0.1)
        yield


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(5)
