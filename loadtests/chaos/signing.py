"""Makes signing slow: first so that everybody can wait, then longer than anybody may."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from loadtests.chaos import slow_signing
from loadtests.chaos.clients import ANSWER
from loadtests.chaos.judgement import Finding, judge_felt
from loadtests.chaos.processes import judge_deaths
from loadtests.chaos.stage import Report, Setup, Stage, play, report
from loadtests.harness.request import Kind
from loadtests.server_process import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from loadtests.chaos.stage import ChaosOptions

_LATE = frozenset({"deadline_exceeded"})
_TIMEOUT_S, _SHORT_S = 8.0, 1.0
_LATE_COUNT = 4
_FELT_S = 60.0
# For the way there and back, on a machine that does something else as well.
_SLACK_S = 5.0


async def slow_signer(folder: Path, options: ChaosOptions) -> Report:
    """Let a signing take a second, and then longer than a request may take in all."""
    hook = folder / "hook"
    hook.mkdir()
    shutil.copyfile(slow_signing.__file__, hook / f"{slow_signing.ACTIVE_NAME}.py")
    delay = hook / slow_signing.DELAY_FILE
    delay.write_text("0")
    timeout_s = _TIMEOUT_S * options.patience
    settings = {
        "PYTHONPATH": f"{hook}:{ROOT}",
        "MINTMARK_ENGINE__REQUEST_TIMEOUT_S": str(timeout_s),
    }

    async def fault(stage: Stage) -> None:
        delay.write_text(str(_SHORT_S))
        await _patient(stage)
        delay.write_text(str(timeout_s * 1.5))
        await stage.traffic.until_answered(_LATE, _LATE_COUNT, stage.within(_FELT_S))
        delay.write_text("0")

    setup = Setup(folder=folder, options=options, settings=settings, recovers_within_s=60.0)
    played = await play(setup, fault)
    longest_s = max(each.service_s for each in played.samples)
    bounded = Finding(
        "nobody waits longer than a request may take",
        longest_s <= timeout_s + _SLACK_S * options.patience,
        f"{longest_s:.1f} s, the limit is {timeout_s:g} s",
    )
    return report(
        "slow-signer",
        played,
        findings=(
            judge_felt(played.samples, _LATE, "typed errors"),
            judge_deaths(len(played.outages), 0),
            bounded,
        ),
    )


async def _patient(stage: Stage) -> None:
    """See that a second of signing costs a second, and nobody a picture."""
    before = len(stage.traffic.samples)
    began_s = stage.traffic.now_s()
    await stage.traffic.ask(stage.traffic.draw(ANSWER))
    took_s = stage.traffic.now_s() - began_s
    failed = [each for each in stage.traffic.samples[before:] if each.kind is not Kind.DONE]
    is_kept = not failed and took_s >= _SHORT_S
    detail = f"{took_s:.1f} s for a picture, {len(failed)} failed"
    stage.findings.append(Finding("a signing of a second fails nobody", is_kept, detail))
