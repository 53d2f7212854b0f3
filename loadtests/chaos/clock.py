"""Moves the server's clock: an hour ahead, before its certificate, and beyond it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from loadtests.chaos.judgement import Finding, judge_felt
from loadtests.chaos.processes import judge_deaths
from loadtests.chaos.stage import Report, Setup, Skipped, Stage, play, report

if TYPE_CHECKING:
    from loadtests.chaos.stage import ChaosOptions

_NO_SIGNER = frozenset({"signing_failed", "signer_not_ready"})
_FELT_S = 30.0
_FELT_COUNT = 2
_LOOK_S = 0.1


async def clock_jump(folder: Path, options: ChaosOptions) -> Report:
    """Move the server's clock about; timers, which use another clock, stay as they are."""
    clock = folder / "clock"
    clock.write_text("+0")
    settings = {
        "LD_PRELOAD": str(_library(options)),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }

    async def fault(stage: Stage) -> None:
        clock.write_text("+1h")
        is_served = await stage.traffic.until_done(2, stage.within(_FELT_S))
        stage.findings.append(Finding("an hour ahead is served", is_served, str(is_served)))
        for name, offset in (("before its time", "-30d"), ("expired", "+400d")):
            clock.write_text(offset)
            stage.findings.append(await _unready(stage, name))
            seen = sum(each.code in _NO_SIGNER for each in stage.traffic.samples)
            await stage.traffic.until_answered(
                _NO_SIGNER, seen + _FELT_COUNT, stage.within(_FELT_S)
            )
        clock.write_text("+0")

    played = await play(Setup(folder=folder, options=options, settings=settings), fault)
    return report(
        "clock-jump",
        played,
        findings=(
            judge_felt(played.samples, _NO_SIGNER, "typed errors"),
            judge_deaths(len(played.outages), 0),
        ),
    )


async def _unready(stage: Stage, name: str) -> Finding:
    """Wait until the server says that it cannot sign."""
    ends_s = stage.traffic.now_s() + stage.within(5.0)
    while (reason := await stage.clients.readiness()) != "signer_not_ready":
        if stage.traffic.now_s() > ends_s:
            break
        await asyncio.sleep(_LOOK_S)
    is_told = reason == "signer_not_ready"
    return Finding(f"unready with a certificate {name}", is_told, reason or "ready")


def _library(options: ChaosOptions) -> Path:
    """Return libfaketime. Raises Skipped."""
    if options.faketime is not None:
        return options.faketime
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        raise Skipped("libfaketime is not installed (Debian: libfaketime; or --faketime FILE)")
    return found[0]
