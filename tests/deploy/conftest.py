"""One monitored service for all tests that look at its metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from service.provenance.development_ca import issue_chain
from tests.deploy.monitoring_kit import (
    Inbox,
    Prometheus,
    open_inbox,
    run_alertmanager,
    run_prometheus,
)
from tests.deploy.monitoring_traffic import SETTINGS, drive
from tests.e2e.server import run_server
from tests.provenance_kit import write_chain

TRAFFIC_S = 12.0
# Less than the critical threshold: its alert must fire and arrive.
CERTIFICATE_DAYS = 5


@dataclass(frozen=True)
class Monitored:
    """What is left of a service that was scraped while it had every kind of request.

    `exposition`: its /metrics at the end.
    """

    prometheus: Prometheus
    inbox: Inbox
    exposition: str


@pytest.fixture(scope="session")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitored]:
    folder = tmp_path_factory.mktemp("monitored")
    chain = issue_chain("Test", datetime.now(UTC), timedelta(days=CERTIFICATE_DAYS))
    keys = write_chain(folder / "keys", chain)
    settings = {
        **SETTINGS,
        "MINTMARK_PROVENANCE__CERTIFICATE_CHAIN_PATH": str(keys.certificate_chain_path),
        "MINTMARK_PROVENANCE__PRIVATE_KEY_PATH": str(keys.private_key_path),
        "MINTMARK_PROVENANCE__TRUST_ANCHORS_PATH": str(keys.trust_anchors_path),
    }
    with (
        open_inbox() as inbox,
        run_alertmanager(folder, inbox.url) as alertmanager,
        run_server(folder / "service", settings, wait_until_ready=False) as server,
        run_prometheus(folder, server, alertmanager) as prometheus,
    ):
        server.wait_ready()
        asyncio.run(drive(server, TRAFFIC_S))
        exposition = httpx.get(f"{server.url}/metrics", timeout=30).text
        yield Monitored(prometheus, inbox, exposition)
