"""The Kubernetes API as the verification asks for it: manifests in, objects out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlencode

import httpx

from deploy.verify.cluster_processes import ClusterFault

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping
    from types import TracebackType

Manifest = dict[str, Any]
_OWNER = "mintmark-verification"
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
# A loaded machine's; the first discovery of a new resource is the slowest.
_CALL_LIMIT_S = 60.0


class Refused(ClusterFault):
    """The API server refuses; `code` is its HTTP status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class Api:
    """A client of one API server, as the user of its certificate. Thread-safe."""

    def __init__(self, url: str, context: ssl.SSLContext) -> None:
        self._http = httpx.Client(
            base_url=url, verify=context, timeout=_CALL_LIMIT_S, trust_env=False
        )
        self._plurals: dict[tuple[str, str], tuple[str, bool]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def is_up(self) -> bool:
        """Say whether the server is there and ready."""
        try:
            return self._http.get("/readyz").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def get(self, path: str, **selectors: str) -> Manifest:
        """Return what is at a path. Raises Refused."""
        return self._call("GET", f"{path}?{urlencode(selectors)}" if selectors else path)

    def has(self, path: str) -> bool:
        """Say whether there is something at a path."""
        try:
            self.get(path)
        except Refused as refusal:
            if refusal.code != httpx.codes.NOT_FOUND:
                raise
            return False
        return True

    def list(self, path: str, **selectors: str) -> list[Manifest]:
        """Return the items of a collection; `selectors`: labelSelector, fieldSelector."""
        items: list[Manifest] = self.get(path, **selectors)["items"]
        return items

    def create(self, path: str, body: Manifest) -> Manifest:
        """Create an object in a collection. Raises Refused."""
        return self._call("POST", path, body)

    def apply(self, manifest: Manifest, namespace: str = "") -> Manifest:
        """Apply a manifest on the server's side, taking over what others own. Raises Refused."""
        path = self.path_of(manifest, namespace)
        query = urlencode({"fieldManager": _OWNER, "force": "true"})
        return self._call("PATCH", f"{path}?{query}", manifest, _APPLY)

    def merge(self, path: str, change: Mapping[str, Any]) -> Manifest:
        """Merge a change into an object, or into its status. Raises Refused."""
        return self._call("PATCH", path, change, _MERGE)

    def delete(self, path: str, grace_period_s: int | None = None) -> None:
        """Delete an object, which may be gone already. Raises Refused."""
        body = None if grace_period_s is None else {"gracePeriodSeconds": grace_period_s}
        try:
            self._call("DELETE", path, body)
        except Refused as refusal:
            if refusal.code != httpx.codes.NOT_FOUND:
                raise

    def path_of(self, manifest: Manifest, namespace: str = "") -> str:
        """Return where an object is; `namespace`: where it is if it does not say so.

        Raises Refused if the server does not know its kind.
        """
        version, kind = manifest["apiVersion"], manifest["kind"]
        if (version, kind) not in self._plurals:
            self._discover(version, kind)
        plural, is_namespaced = self._plurals[version, kind]
        place = ""
        if is_namespaced:
            place = f"/namespaces/{manifest['metadata'].get('namespace') or namespace}"
        return f"{_root(version)}{place}/{plural}/{manifest['metadata']['name']}"

    def _discover(self, version: str, kind: str) -> None:
        for each in self.get(_root(version))["resources"]:
            if "/" not in each["name"]:
                self._plurals[version, each["kind"]] = (each["name"], each["namespaced"])
        if (version, kind) not in self._plurals:
            raise Refused(httpx.codes.NOT_FOUND, f"there is no {kind} in {version}")

    def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
    ) -> Manifest:
        # JSON is YAML, which is what an apply says that it is.
        headers = {"Content-Type": content_type}
        try:
            answer = self._http.request(method, path, json=body, headers=headers)
        except httpx.TransportError as fault:
            raise ClusterFault(
                f"the API server does not answer {method} {path}: {fault}"
            ) from fault
        if answer.is_error:
            raise Refused(answer.status_code, _message(answer))
        found: Manifest = answer.json()
        return found


def _root(version: str) -> str:
    return f"/apis/{version}" if "/" in version else f"/api/{version}"


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return answer.text
