"""What is taken from below: the ledger's file, its lock, its server, the disk."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import sqlite3
import subprocess
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from loadtests.chaos.clients import ANSWER, LINK, MIXED
from loadtests.chaos.judgement import Finding, judge_felt
from loadtests.chaos.processes import judge_deaths
from loadtests.chaos.stage import Report, Setup, Stage, play, report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from loadtests.chaos.stage import ChaosOptions

_LEDGER_FAILED = frozenset({"ledger_failed", "ledger_unavailable"})
_NO_ROOM = _LEDGER_FAILED | {"storage_failed", "storage_full"}
_FELT_S = 30.0
_FELT_COUNT = 3
# The ledger waits five seconds for a lock.
_SHORT_LOCK_S, _LONG_LOCK_S = 2.5, 9.0
_DISK_BYTES = 24 * 2**20
_FILE_LIMIT_BYTES = 4096


async def ledger_gone(folder: Path, options: ChaosOptions) -> Report:
    """Remove the SQLite file under the running server; then start it again without it."""
    gone_s = 0.0

    async def fault(stage: Stage) -> None:
        nonlocal gone_s
        gone_s = stage.traffic.now_s()
        for path in stage.supervisor.state_dir.glob("ledger.sqlite3*"):
            path.unlink()
        await stage.traffic.until_answered(_LEDGER_FAILED, _FELT_COUNT, stage.within(_FELT_S))
        stage.fault_ends_s = stage.traffic.now_s()
        stage.supervisor.replace()

    played = await play(Setup(folder=folder, options=options, recovers_within_s=60.0), fault)
    return report(
        "ledger-gone",
        played,
        recorded_since_s=gone_s,
        findings=(judge_felt(played.samples, _LEDGER_FAILED, "typed errors"),),
    )


async def ledger_slow(folder: Path, options: ChaosOptions) -> Report:
    """Hold the ledger's lock, which every picture needs to leave: first short, then too long."""

    async def fault(stage: Stage) -> None:
        path = stage.supervisor.state_dir / "ledger.sqlite3"
        await _hold_lock(path, _SHORT_LOCK_S)
        failed = [each for each in stage.traffic.samples if each.code in _LEDGER_FAILED]
        stage.findings.append(
            Finding("a short wait fails nobody", not failed, f"{len(failed)} failed")
        )
        await _hold_lock(path, _LONG_LOCK_S)

    played = await play(Setup(folder=folder, options=options), fault)
    return report(
        "ledger-slow",
        played,
        findings=(
            judge_felt(played.samples, _LEDGER_FAILED, "typed errors"),
            judge_deaths(len(played.outages), 0),
        ),
    )


async def postgres_gone(folder: Path, options: ChaosOptions) -> Report:
    """Crash the PostgreSQL server of the ledger and start it again."""
    import signal

    from tests.postgres_kit import running_postgres

    with running_postgres() as server:
        ledger = server.options(server.create_user())
        assert ledger.url is not None
        settings = {
            "MINTMARK_LEDGER__URL": ledger.url.get_secret_value(),
            "MINTMARK_LEDGER__CONNECT_TIMEOUT_S": "3",
            "MINTMARK_PROVENANCE__ALLOW_DEVELOPMENT_CA_ON_POSTGRESQL": "true",
        }

        async def fault(stage: Stage) -> None:
            await asyncio.to_thread(server.stop, signal.SIGQUIT)
            await stage.traffic.until_answered(_LEDGER_FAILED, _FELT_COUNT, stage.within(_FELT_S))
            await asyncio.to_thread(server.start)

        played = await play(Setup(folder=folder, options=options, settings=settings), fault)
        return report(
            "postgres-gone",
            played,
            ledger=ledger,
            findings=(
                judge_felt(played.samples, _LEDGER_FAILED, "typed errors"),
                judge_deaths(len(played.outages), 0),
            ),
        )


async def disk_full(folder: Path, options: ChaosOptions) -> Report:
    """Leave no room for the ledger and for pictures answered by link; then make room again."""
    with _small_disk(folder / "state") as is_mounted:
        setup = Setup(
            folder=folder,
            options=options,
            settings={"MINTMARK_STORAGE__KIND": "folder"},
            profiles=(ANSWER, LINK, *MIXED[1:]),
        )

        async def fault(stage: Stage) -> None:
            empty = _fill if is_mounted else _forbid_growth
            make_room = empty(stage)
            await stage.traffic.until_answered(_NO_ROOM, _FELT_COUNT, stage.within(_FELT_S))
            make_room()

        played = await play(setup, fault)
        drafts = list((folder / "state" / "pictures").glob(".*"))
        whole = Finding("no half pictures are left", not drafts, f"{len(drafts)} left")
        return report(
            "disk-full",
            played,
            findings=(
                judge_felt(played.samples, _NO_ROOM, "typed errors"),
                judge_deaths(len(played.outages), 0),
                whole,
            ),
        )


async def _hold_lock(path: Path, seconds: float) -> None:
    with closing(sqlite3.connect(path, isolation_level=None, timeout=5)) as ledger:
        ledger.execute("BEGIN IMMEDIATE")
        await asyncio.sleep(seconds)
        ledger.execute("ROLLBACK")


@contextmanager
def _small_disk(folder: Path) -> Iterator[bool]:
    """Mount a small file system on a folder, if this process may; tell whether it did."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs", str(folder)]
    is_mounted = os.geteuid() == 0 and subprocess.run(mount, check=False).returncode == 0
    try:
        yield is_mounted
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _fill(stage: Stage) -> Callable[[], None]:
    """Fill the disk to its last byte; return what empties it again."""
    ballast = stage.supervisor.state_dir / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
    return ballast.unlink


def _forbid_growth(stage: Stage) -> Callable[[], None]:
    """Let no file of the server grow beyond some bytes; return what allows it again."""
    worker = stage.supervisor.worker_pid()
    _, hard = resource.prlimit(worker, resource.RLIMIT_FSIZE)
    resource.prlimit(worker, resource.RLIMIT_FSIZE, (_FILE_LIMIT_BYTES, hard))

    def allow() -> None:
        resource.prlimit(worker, resource.RLIMIT_FSIZE, (hard, hard))

    return allow
