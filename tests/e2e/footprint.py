"""What a running server holds, seen from outside: threads, descriptors, files, ledger, gauges."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.e2e.server import Server

SETTLE_S = 20.0
# Pools start their threads one by one: two for marking, one for verifying, and asyncio's own.
POOL_THREADS = 12
GAUGES = (
    "mintmark_queue_depth",
    "mintmark_http_requests_in_flight",
    "mintmark_rpc_calls_in_flight",
)


@dataclass(frozen=True)
class Footprint:
    """`descriptors`: by kind; the ledger's own, which its pool bounds, are left out.

    `unaccounted_outputs`: pictures in the ledger that were not handed out.
    `steps`: denoiser calls so far; the same twice in a row means that nothing is being drawn.
    """

    threads: int
    descriptors: Counter[str]
    files: frozenset[str]
    gauges: tuple[float, ...]
    unaccounted_outputs: int
    steps: float


def metrics(server: Server) -> dict[str, float]:
    """Return every series by its name with labels."""
    lines = httpx.get(f"{server.url}/metrics", timeout=30).text.splitlines()
    pairs = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
    return {series: float(value) for series, _, value in pairs}


def total(values: dict[str, float], start: str) -> float:
    """Return the sum of all series whose name with labels begins with `start`."""
    return sum(value for name, value in values.items() if name.startswith(start))


def take(server: Server) -> Footprint:
    """Look at a server that this process has no connection to."""
    values = metrics(server)
    worker = Path(f"/proc/{server.worker_pid()}")
    handed_out = total(values, "mintmark_images_")
    return Footprint(
        threads=len(list((worker / "task").iterdir())),
        descriptors=_descriptors(worker),
        files=_files(server),
        gauges=tuple(values.get(name, 0.0) for name in GAUGES),
        unaccounted_outputs=_recorded(server) - int(handed_out),
        steps=total(values, "mintmark_step_seconds_count{"),
    )


@contextmanager
def nothing_is_left(server: Server) -> Iterator[None]:
    """Fail if the block leaves the server with anything that it did not hold before."""
    before = take(server)
    assert before.gauges == (0.0,) * len(GAUGES)
    yield
    ends_at_s = time.monotonic() + SETTLE_S
    while (problems := _problems(before, after := _settled(server))) and (
        time.monotonic() < ends_at_s
    ):
        time.sleep(0.2)
    assert not problems, (before, after)


def _problems(before: Footprint, after: Footprint) -> list[str]:
    held = {
        "threads": after.threads <= before.threads + POOL_THREADS,
        "descriptors": not after.descriptors - before.descriptors,
        "files": after.files == before.files,
        "gauges": after.gauges == before.gauges,
        "outputs": after.unaccounted_outputs == before.unaccounted_outputs,
    }
    return [name for name, is_held in held.items() if not is_held]


def _settled(server: Server) -> Footprint:
    """Wait until no step is taken between two looks: then nothing is drawn for nobody."""
    ends_at_s = time.monotonic() + SETTLE_S
    found = take(server)
    while time.monotonic() < ends_at_s:
        time.sleep(0.15)
        found, earlier = take(server), found
        if found.steps == earlier.steps:
            return found
    raise AssertionError("the engine never came to rest")


def _descriptors(worker: Path) -> Counter[str]:
    kinds: Counter[str] = Counter()
    for descriptor in (worker / "fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except FileNotFoundError:  # closed meanwhile
            continue
        if "ledger.sqlite3" not in target:
            kinds[target.partition(":[")[0]] += 1
    return kinds


def _files(server: Server) -> frozenset[str]:
    """Return what lies in the state folder and in the temporary one, logs aside."""
    folders = (server.state_dir, server.state_dir.parent / "tmp")
    found = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    return frozenset(str(path) for path in found if "logs" not in path.parts)


def _recorded(server: Server) -> int:
    uri = f"file:{server.state_dir / 'ledger.sqlite3'}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True)) as ledger:
        question = "SELECT count(*) FROM outputs WHERE kind != 'preview'"
        return int(ledger.execute(question).fetchone()[0])
