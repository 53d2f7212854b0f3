"""Runs the image as strictly as the Helm chart does, and holds it to what it must do there."""

from __future__ import annotations

import base64
import json
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from socket import create_server
from typing import TYPE_CHECKING, Any

import httpx

from deploy.verify.image_engine import ImageFault, Podman
from service.client import GenerateOptions, MintmarkClient

if TYPE_CHECKING:
    from collections.abc import Iterator

# The chart's: security context, limit of memory, and the folders that can be written to. The state
# is the volume that the image declares. Few files and processes: no machine allows fewer.
_USER_ID = 1034
_MEMORY_BYTES = 2 << 30
_STRICT = [
    "--read-only", "--read-only-tmpfs=false", "--tmpfs", "/tmp:rw,size=256m",  # noqa: S108
    "--cap-drop", "all", "--security-opt", "no-new-privileges",
    "--user", f"{_USER_ID}:{_USER_ID}", "--memory", str(_MEMORY_BYTES), "--pids-limit", "256",
    "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000", "--network", "host",
]  # fmt: skip
_PROBE = Path(__file__).with_name("image_probe.py")
_WRITABLE = ["~", "/tmp"]  # noqa: S108
_OURS = "ai_generated_by_us"
_LAME_DUCK_S = 1.0
# A loaded machine's; what was measured is in the report.
_START_LIMIT_S = 300.0
_CALL_LIMIT_S = 180.0
_STOP_LIMIT_S = 60.0
_POLL_S = 0.1


@dataclass(slots=True)
class Findings:
    """What was proven, as sentences, and what was measured."""

    proven: list[str] = field(default_factory=list)
    start_s: float = 0.0
    stop_s: float = 0.0
    rss_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Container:
    """A running container of the image; its ports are on this machine."""

    podman: Podman
    id: str
    http_port: int
    grpc_port: int

    @property
    def url(self) -> str:
        """Where its HTTP is."""
        return f"http://127.0.0.1:{self.http_port}"

    def status_of(self, path: str) -> int | None:
        """Return a probe's status code, or None if nobody answers."""
        try:
            return httpx.get(f"{self.url}{path}", timeout=5).status_code
        except httpx.TransportError:
            return None


def check(podman: Podman, image: str, version: str) -> Findings:
    """Prove what the image must do, with `version` as its own. Raises ImageFault at a fault."""
    findings = Findings()
    _check_refusal(podman, image, findings)
    started_s = time.monotonic()
    with _running(podman, image) as container:
        _wait_ready(container)
        findings.start_s = time.monotonic() - started_s
        _check_probes(container, findings)
        _check_http(container, findings)
        _check_grpc(container, findings)
        _check_inside(container, version, findings)
        _check_stop(container, findings)
    return findings


def _require(is_so: bool, sentence: str, findings: Findings, seen: object = None) -> None:
    """Note a sentence that is proven. Raises ImageFault with what was seen if it is not so."""
    if not is_so:
        raise ImageFault(f"not so: {sentence} (seen: {seen})")
    findings.proven.append(sentence)


def _check_refusal(podman: Podman, image: str, findings: Findings) -> None:
    """Without keys or an explicit permission the image's own address must not be served."""
    try:
        podman("run", "--rm", *_STRICT, image, timeout_s=_START_LIMIT_S)
    except ImageFault as refusal:
        said = str(refusal)
        is_refused = "ended with 1:" in said and "MINTMARK_ACCESS__ALLOW_OPEN" in said
        _require(is_refused, "without API keys it does not start, and says why", findings, said)
        return
    raise ImageFault("it serves everybody without being told to")


@contextmanager
def _running(podman: Podman, image: str) -> Iterator[Container]:
    """Yield a container; remove it and its state afterwards, and show its log after a fault."""
    http_port, grpc_port = _free_ports()
    variables = {
        "MINTMARK_SERVER__HOST": "127.0.0.1",
        "MINTMARK_SERVER__HTTP_PORT": str(http_port),
        "MINTMARK_SERVER__GRPC_PORT": str(grpc_port),
        "MINTMARK_SERVER__LAME_DUCK_S": str(_LAME_DUCK_S),
    }
    settings = [part for pair in variables.items() for part in ("--env", "=".join(pair))]
    identity = podman("run", "--detach", *_STRICT, *settings, image).strip()
    try:
        yield Container(podman, identity, http_port, grpc_port)
    except ImageFault as fault:
        raise ImageFault(f"{fault}\n{podman('logs', '--tail', '30', identity)}") from fault
    finally:
        podman("rm", "--force", "--volumes", identity)


def _free_ports() -> tuple[int, int]:
    with create_server(("127.0.0.1", 0)) as first, create_server(("127.0.0.1", 0)) as second:
        return int(first.getsockname()[1]), int(second.getsockname()[1])


def _wait_ready(container: Container) -> None:
    ends_at_s = time.monotonic() + _START_LIMIT_S
    while container.status_of("/readyz") != httpx.codes.OK:
        if time.monotonic() > ends_at_s:
            raise ImageFault(f"not ready within {_START_LIMIT_S:.0f} s")
        if _state(container)["Status"] == "exited":
            raise ImageFault("it ended while it started")
        time.sleep(_POLL_S)


def _check_probes(container: Container, findings: Findings) -> None:
    seen = {path: container.status_of(path) for path in ("/livez", "/readyz", "/metrics")}
    is_so = set(seen.values()) == {httpx.codes.OK}
    _require(is_so, "/livez, /readyz and /metrics answer", findings, seen)
    said = container.podman("healthcheck", "run", container.id).strip()
    _require(said in {"", "healthy"}, "HEALTHCHECK finds it healthy", findings, said)


def _check_http(container: Container, findings: Findings) -> None:
    picture = _draw_over_http(container, steps=2)
    answer = httpx.post(
        f"{container.url}/v1/images/verify", files={"image": picture}, timeout=_CALL_LIMIT_S
    ).json()
    sentence = "a picture drawn over HTTP is verified over HTTP"
    _require(answer.get("verdict") == _OURS, sentence, findings, answer)


def _draw_over_http(container: Container, *, steps: int) -> bytes:
    """Return a picture; raises ImageFault if there is none."""
    body = {"prompt": "a red apple", "num_inference_steps": steps}
    url = f"{container.url}/v1/images/generations"
    answer = httpx.post(url, json=body, timeout=_CALL_LIMIT_S)
    if answer.status_code != httpx.codes.OK:
        raise ImageFault(f"no picture: {answer.status_code} {answer.text}")
    return base64.b64decode(answer.json()["data"][0]["b64_json"])


def _check_grpc(container: Container, findings: Findings) -> None:
    with MintmarkClient(f"127.0.0.1:{container.grpc_port}") as client:
        options = GenerateOptions(num_inference_steps=2)
        drawn = client.generate("a red apple", options, deadline_s=_CALL_LIMIT_S)
        report = client.verify(drawn.pictures[0].content, deadline_s=_CALL_LIMIT_S)
    sentence = "a picture drawn over gRPC is verified over gRPC"
    _require(report.verdict == _OURS, sentence, findings, report.verdict)


def _check_inside(container: Container, version: str, findings: Findings) -> None:
    """Ask the container itself: flags that were given need not have had an effect."""
    probe = _PROBE.read_text(encoding="utf-8")
    seen = json.loads(
        container.podman("exec", "--interactive", container.id, "python", "-", given=probe)
    )
    findings.rss_bytes = seen["rss_bytes"]
    for key, wanted, sentence in (
        ("uid", _USER_ID, f"it runs as user {_USER_ID}"),
        ("capabilities", 0, "it has no capabilities and can get none"),
        ("no_new_privileges", True, "it cannot gain privileges"),
        ("seccomp", True, "system calls are filtered"),
        (
            "memory_limit_bytes",
            _MEMORY_BYTES,
            f"its memory is limited to {_MEMORY_BYTES >> 20} MiB",
        ),
        ("root_is_read_only", True, "its root is read-only"),
        ("writable", _WRITABLE, "it can write to its state and to /tmp, and nowhere else"),
        ("build_tools", [], "there are no compilers and no git"),
        ("missing_modules", [], "PostgreSQL's and S3's packages and the migrations are there"),
        ("version", version, f"it knows its version, {version}"),
    ):
        _require(seen[key] == wanted, sentence, findings, seen[key])
    told = container.podman("exec", container.id, "python", "-m", "service.cli", "ledger", "status")
    _require("outputs   2" in told, "its ledger is at this release's revision", findings, told)


def _check_stop(container: Container, findings: Findings) -> None:
    """Tell it to stop while it draws: the picture must still come, and the exit code be 0."""
    pictures: list[bytes] = []
    caller = threading.Thread(target=lambda: pictures.append(_draw_over_http(container, steps=20)))
    caller.start()
    time.sleep(_LAME_DUCK_S / 2)
    stopped_s = time.monotonic()
    container.podman("kill", "--signal", "TERM", container.id)
    code = container.podman("wait", container.id, timeout_s=_STOP_LIMIT_S).strip()
    findings.stop_s = time.monotonic() - stopped_s
    caller.join(_CALL_LIMIT_S)
    _require(code == "0", "SIGTERM ends it with 0", findings, code)
    _require(len(pictures) == 1, "the picture that was being drawn was still answered", findings)


def _state(container: Container) -> dict[str, Any]:
    told = container.podman("container", "inspect", "--format", "{{json .State}}", container.id)
    state: dict[str, Any] = json.loads(told)
    return state
