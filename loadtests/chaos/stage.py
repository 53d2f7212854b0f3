"""One scenario from beginning to end: server, clients, the fault, and what came of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from loadtests.chaos.clients import MIXED, Clients
from loadtests.chaos.judgement import (
    Finding,
    Outage,
    judge_answers,
    judge_marks,
    judge_pixels,
    judge_recovery,
    recovery_s,
)
from loadtests.chaos.proof import prove
from loadtests.chaos.supervisor import Supervisor
from loadtests.chaos.traffic import Traffic
from service.provenance.development_ca import DIRECTORY_NAME, DevelopmentFiles

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from loadtests.harness.open_loop import Sample
    from loadtests.harness.request import ImageRequest
    from service.database.options import LedgerOptions

_WARM_S = 60.0
_CLIENT_WAITS_S = 120.0
# How much of the server's time the clients ask for, unless the scenario wants less.
_LOAD, _PROBES = 0.5, 3
_AFTERWARDS = 2


class Skipped(Exception):
    """This machine cannot play the scenario; the message says what it lacks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChaosOptions:
    """How long and how much.

    `overload_s`: seconds of overload. `requests`: of `memory-flat`. `patience`: what every
    limit of time is multiplied by, for machines that do something else as well. `faketime`: the
    library; None looks where Debian puts it.
    """

    is_quick: bool = False
    overload_s: float = 300.0
    requests: int = 10_000
    patience: float = 1.0
    faketime: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What is put on stage. `recovers_within_s`: before `patience`."""

    folder: Path
    options: ChaosOptions
    settings: dict[str, str] = field(default_factory=dict)
    profiles: tuple[ImageRequest, ...] = MIXED
    rate_per_s: float = 1.5
    recovers_within_s: float = 30.0


@dataclass(slots=True)
class Stage:
    """What a fault may lay hands on.

    `fault_ends_s`: from when recovery counts, in the traffic's time; by default, when the fault
    returns. `findings`, `figures`: what it has seen itself.
    """

    setup: Setup
    supervisor: Supervisor
    clients: Clients
    traffic: Traffic
    fault_ends_s: float | None = None
    findings: list[Finding] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)

    def within(self, seconds: float) -> float:
        """Return a limit of time on this machine."""
        return seconds * self.setup.options.patience


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What was seen of a scenario."""

    stage: Stage
    outages: tuple[Outage, ...]
    pixels_before: str
    pixels_after: str
    recovered_s: float | None

    @property
    def samples(self) -> list[Sample]:
        """Return every request."""
        return self.stage.traffic.samples


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A scenario's result; seconds, and the fault's own figures by name."""

    name: str
    findings: tuple[Finding, ...] = ()
    skipped_because: str = ""
    requests: int = 0
    answers: dict[str, int] = field(default_factory=dict)
    pictures: int = 0
    recovery_s: float | None = None
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def is_kept(self) -> bool:
        """Tell whether every promise was; a scenario that was not played has broken none."""
        return all(finding.is_kept for finding in self.findings)


async def play(setup: Setup, fault: Callable[[Stage], Awaitable[None]]) -> Played:
    """Start a server and its clients, do the fault, wait for the recovery, and ask once more.

    Raises ServerFailed if it never comes back.
    """
    async with (
        Supervisor(setup.folder, setup.settings) as supervisor,
        Clients(supervisor.endpoints) as clients,
    ):
        before = await clients.pixels()
        traffic = Traffic(
            clients,
            setup.profiles,
            min(setup.rate_per_s, await _bearable_rate_per_s(clients)),
            request_timeout_s=_CLIENT_WAITS_S * setup.options.patience,
        )
        stage = Stage(setup, supervisor, clients, traffic)
        async with asyncio.TaskGroup() as group:
            group.create_task(traffic.run())
            await traffic.until_done(len(setup.profiles), stage.within(_WARM_S))
            await fault(stage)
            if stage.fault_ends_s is None:
                stage.fault_ends_s = traffic.now_s()
            await supervisor.wait_ready()
            await traffic.until_done(_AFTERWARDS, stage.within(setup.recovers_within_s))
            traffic.stop()
        await supervisor.wait_ready()
        return Played(
            stage=stage,
            outages=_outages(supervisor, traffic),
            pixels_before=before,
            pixels_after=await clients.pixels(),
            recovered_s=recovery_s(traffic.samples, stage.fault_ends_s),
        )


def report(
    name: str,
    played: Played,
    *,
    ledger: LedgerOptions | None = None,
    recorded_since_s: float = 0.0,
    findings: tuple[Finding, ...] = (),
) -> Report:
    """Judge what every scenario is held to, and add what this one is held to besides.

    recorded_since_s: pictures asked for earlier need not be in the ledger, because it was taken
    away.
    """
    stage = played.stage
    state_dir, traffic = stage.supervisor.state_dir, stage.traffic
    anchors_pem = DevelopmentFiles(state_dir / DIRECTORY_NAME).anchors.read_text()
    recorded = prove(traffic.pictures(recorded_since_s), anchors_pem, state_dir, ledger)
    earlier = prove(traffic.pictures(until_s=recorded_since_s), anchors_pem, None)
    proofs = recorded + earlier
    return Report(
        name=name,
        findings=(
            judge_marks(proofs),
            judge_answers(played.samples, played.outages),
            judge_pixels(played.pixels_before, played.pixels_after),
            judge_recovery(played.recovered_s, stage.within(stage.setup.recovers_within_s)),
            *stage.findings,
            *findings,
        ),
        requests=len(played.samples),
        answers=dict(Counter(sample.code or sample.kind.value for sample in played.samples)),
        pictures=proofs.pictures,
        recovery_s=played.recovered_s,
        figures=stage.figures,
    )


async def _bearable_rate_per_s(clients: Clients) -> float:
    """Return a rate at which no queue grows, going by what one picture takes here."""
    began_s = asyncio.get_running_loop().time()
    for _ in range(_PROBES):
        await clients.pixels()
    return _PROBES * _LOAD / (asyncio.get_running_loop().time() - began_s)


def _outages(supervisor: Supervisor, traffic: Traffic) -> tuple[Outage, ...]:
    return tuple(
        Outage(down.from_s - traffic.began_s, (down.until_s or float("inf")) - traffic.began_s)
        for down in supervisor.downtimes
    )
