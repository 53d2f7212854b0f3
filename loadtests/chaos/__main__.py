"""`python -m loadtests.chaos [NAME...]`: plays scenarios one after the other, by default all.

Exit code: 0 if every promise was kept, 1 if one was broken, 2 for a command that cannot be used. A
scenario that this machine cannot play is skipped, unless it was named.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from loadtests.chaos.clock import clock_jump
from loadtests.chaos.judgement import Finding
from loadtests.chaos.memory import memory_flat, memory_pressure
from loadtests.chaos.processes import overload, worker_frozen, worker_killed
from loadtests.chaos.signing import slow_signer
from loadtests.chaos.stage import ChaosOptions, Report, Skipped
from loadtests.chaos.state import disk_full, ledger_gone, ledger_slow, postgres_gone
from loadtests.server_process import ServerFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    Scenario = Callable[[Path, ChaosOptions], Coroutine[None, None, Report]]

_FILE = click.Path(path_type=Path, dir_okay=False)
_QUICK_OVERLOAD_S, _FULL_OVERLOAD_S = 20.0, 300.0
_QUICK_REQUESTS, _FULL_REQUESTS = 300, 10_000


def scenarios() -> Mapping[str, Scenario]:
    """Return every scenario by name, in the order in which they are played."""
    return {
        "worker-killed": worker_killed,
        "worker-frozen": worker_frozen,
        "slow-signer": slow_signer,
        "ledger-gone": ledger_gone,
        "ledger-slow": ledger_slow,
        "postgres-gone": postgres_gone,
        "disk-full": disk_full,
        "clock-jump": clock_jump,
        "memory-pressure": memory_pressure,
        "memory-flat": memory_flat,
        "overload": overload,
    }


@click.command()
@click.argument("names", nargs=-1)
@click.option("--quick", "is_quick", is_flag=True, help="Short ones: each less than a minute.")
@click.option("--overload", "overload_s", type=float, help="Seconds of overload (300; quick: 20).")
@click.option("--requests", type=int, help="Of memory-flat (10,000; quick: 300).")
@click.option("--patience", default=1.0, help="Multiplies limits of time, on a busy machine.")
@click.option("--faketime", type=_FILE, help="libfaketimeMT.so.1, if it is not Debian's.")
@click.option("--json", "json_path", type=_FILE, help="Where the results go.")
def main(  # noqa: PLR0913, PLR0917 - one parameter for each option
    names: tuple[str, ...],
    is_quick: bool,
    overload_s: float | None,
    requests: int | None,
    patience: float,
    faketime: Path | None,
    json_path: Path | None,
) -> None:
    """Break things under a running server, and say which promises were kept."""
    known = scenarios()
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise click.UsageError(f"There is no {', '.join(unknown)}; there is {', '.join(known)}.")
    # Whoever ends us this way must not leave a server behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    options = ChaosOptions(
        is_quick=is_quick,
        overload_s=overload_s or (_QUICK_OVERLOAD_S if is_quick else _FULL_OVERLOAD_S),
        requests=requests or (_QUICK_REQUESTS if is_quick else _FULL_REQUESTS),
        patience=patience,
        faketime=faketime,
    )
    reports = []
    for name in names or known:
        began_s = time.monotonic()
        reports.append(perform(name, known[name], options))
        _show(reports[-1], time.monotonic() - began_s)
    if json_path is not None:
        found = [asdict(each) | {"is_kept": each.is_kept} for each in reports]
        json_path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    is_missing = bool(names) and any(each.skipped_because for each in reports)
    sys.exit(0 if all(each.is_kept for each in reports) and not is_missing else 1)


def perform(name: str, scenario: Scenario, options: ChaosOptions) -> Report:
    """Play one scenario in a folder of its own. A server that never comes back is a finding."""
    with tempfile.TemporaryDirectory(prefix="mintmark-chaos-") as folder:
        try:
            return asyncio.run(scenario(Path(folder), options))
        except Skipped as why:
            return Report(name=name, skipped_because=str(why))
        except ServerFailed as why:
            return _never_back(name, str(why))
        except ExceptionGroup as group:
            failures, others = group.split(ServerFailed)
            if failures is None or others is not None:
                raise
            return _never_back(name, str(failures.exceptions[0]))


def _never_back(name: str, why: str) -> Report:
    return Report(name=name, findings=(Finding("serves again", False, why),))


def _show(report: Report, took_s: float) -> None:
    if report.skipped_because:
        print(f"{report.name}: skipped, {report.skipped_because}")
        return
    recovered = "" if report.recovery_s is None else f", serves again in {report.recovery_s:.1f} s"
    print(f"{report.name}: {took_s:.0f} s, {report.requests} requests{recovered}")
    for finding in report.findings:
        print(f"  {'kept  ' if finding.is_kept else 'BROKEN'} {finding.check}: {finding.detail}")
    for title, values in (("answers", report.answers), ("figures", report.figures)):
        if values:
            print(f"  {title}: " + ", ".join(f"{key} {value:g}" for key, value in values.items()))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
