"""A part of the API that offers one metric of every pod, as an adapter of Prometheus would.

A HorizontalPodAutoscaler asks `custom.metrics.k8s.io` for it; the API server passes the question on
to whoever is registered for that group, which is the server here.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from deploy.verify.cluster_api import Api, Manifest
    from deploy.verify.cluster_control_plane import ControlPlane

GROUP, VERSION = "custom.metrics.k8s.io", "v1beta1"
_ROOT = f"/apis/{GROUP}/{VERSION}"
_PODS = re.compile(rf"{re.escape(_ROOT)}/namespaces/([^/]+)/pods/\*/([^/]+)")
_NAME, _NAMESPACE = "pod-metrics", "kube-system"
_REGISTRATIONS = "/apis/apiregistration.k8s.io/v1/apiservices"
_REGISTRATION = f"{_REGISTRATIONS}/{VERSION}.{GROUP}"
_MILLI = 1000


class Adapter:
    """Answers questions about one metric of pods.

    `find`: namespace and label selector to the names of the pods. `scrape`: a pod's name to what
    it exports, in Prometheus' text format.
    """

    def __init__(
        self,
        metric: str,
        find: Callable[[str, str], list[str]],
        scrape: Callable[[str], str],
    ) -> None:
        self._metric = metric
        self._find = find
        self._scrape = scrape

    def answer(self, url: str) -> tuple[int, Manifest]:
        """Return status code and body for a GET of a path with its query."""
        parts = urlsplit(url)
        # The star that stands for every pod comes as %2A.
        path = unquote(parts.path)
        if path == _ROOT:
            return 200, self._resources()
        asked = _PODS.fullmatch(path)
        if asked is None or asked[2] != self._metric:
            return 404, _status(f"there is no {path}")
        selector = parse_qs(parts.query).get("labelSelector", [""])[0]
        pods = self._find(asked[1], selector)
        items = [self._item(asked[1], pod, value) for pod, value in self._values(pods)]
        return 200, {
            "kind": "MetricValueList",
            "apiVersion": f"{GROUP}/{VERSION}",
            "metadata": {},
            "items": items,
        }

    def _values(self, pods: list[str]) -> Iterator[tuple[str, float]]:
        for pod in pods:
            value = read_gauge(self._scrape(pod), self._metric)
            # A pod that does not export it has no value, which is not zero.
            if value is not None:
                yield pod, value

    def _item(self, namespace: str, pod: str, value: float) -> Manifest:
        place = {"kind": "Pod", "namespace": namespace, "name": pod, "apiVersion": "/v1"}
        return {
            "describedObject": place,
            "metricName": self._metric,
            "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "value": f"{round(value * _MILLI)}m",
            "selector": None,
        }

    def _resources(self) -> Manifest:
        resource = {
            "name": f"pods/{self._metric}",
            "singularName": "",
            "namespaced": True,
            "kind": "MetricValueList",
            "verbs": ["get"],
        }
        return {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": f"{GROUP}/{VERSION}",
            "resources": [resource],
        }


def read_gauge(exposition: str, name: str) -> float | None:
    """Return the value of a gauge without labels, or None if it is not exported."""
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            if sample.name == name and not sample.labels:
                return float(sample.value)
    return None


@contextmanager
def serve(plane: ControlPlane, adapter: Adapter) -> Iterator[None]:
    """Serve `adapter` as a part of the API. Only the API server itself is answered."""
    host = f"{_NAME}.{_NAMESPACE}.svc"
    context = plane.authority.server_context(plane.authority.issue(_NAME, names=[host]))
    # Each request handler gets the adapter by its class, as http.server makes it itself.
    handler = type("_Handler", (_Handler,), {"adapter": adapter})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, name=_NAME, daemon=True)
        thread.start()
        try:
            register(plane.api, server.server_address[1], plane.authority.certificate)
            yield
            # Namespaces cannot be deleted while a part of the API does not answer.
            plane.api.delete(_REGISTRATION)
        finally:
            server.shutdown()
            thread.join()


def register(api: Api, port: int, authority: Path) -> None:
    """Tell the API server who answers for the group: a port of this machine."""
    meta = {"name": _NAME, "namespace": _NAMESPACE}
    # The one kind of Service that may lead to the loopback address.
    ports = [{"port": port, "protocol": "TCP"}]
    outside = {"type": "ExternalName", "externalName": "localhost", "ports": ports}
    api.apply({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": outside})
    api.create(
        _REGISTRATIONS,
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": f"{VERSION}.{GROUP}"},
            "spec": {
                "group": GROUP,
                "version": VERSION,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "service": {**meta, "port": port},
                "caBundle": base64.b64encode(authority.read_bytes()).decode(),
            },
        },
    )


class _Handler(BaseHTTPRequestHandler):
    adapter: Adapter

    def do_GET(self) -> None:
        code, body = self.adapter.answer(self.path)
        content = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the report does."""


def _status(message: str) -> Manifest:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message}
