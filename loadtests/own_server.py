"""Starts the service on free ports of loopback, with a state folder of its own, for one run."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loadtests.server_process import (
    HOST,
    ROOT,
    SERVE,
    free_ports,
    launch,
    service_environment,
    stop,
    wait_until_ready,
)
from models.weights import write_digests

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_START_S = 120.0
_STOP_S = 30.0


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a server is reached. `http_url` has no path, `grpc_address` is host and port."""

    http_url: str
    grpc_address: str


@contextmanager
def own_server(
    folder: Path, settings: dict[str, str], sizes_px: Sequence[tuple[int, int]] = ()
) -> Iterator[Endpoints]:
    """Yield a server that takes work; it ends with the block.

    settings: MINTMARK_ variables; none of the caller's own reach the server. sizes_px: if given,
    the embedded model is served in these. Raises ServerFailed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    http_port, grpc_port = free_ports(2)
    environment = service_environment(folder / "state", http_port, grpc_port, settings)
    if sizes_px:
        model = str(resized_model(folder / "model", sizes_px))
        environment = {"MINTMARK_MODEL__PATH": model} | environment
    process = launch(SERVE, folder, environment)
    endpoints = Endpoints(f"http://{HOST}:{http_port}", f"{HOST}:{grpc_port}")
    try:
        wait_until_ready(f"{endpoints.http_url}/readyz", process, folder, _START_S)
        yield endpoints
    finally:
        stop(process, _STOP_S)


def resized_model(folder: Path, sizes_px: Sequence[tuple[int, int]]) -> Path:
    """Return a copy of the embedded model's folder in other sizes, the first by default."""
    shutil.copytree(ROOT / "models" / "embedded", folder, dirs_exist_ok=True)
    path = folder / "mintmark.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    facts |= {"sizes_px": list(sizes_px), "default_size_px": sizes_px[0]}
    path.write_text(json.dumps(facts), encoding="utf-8")
    write_digests(folder)
    return folder
