"""How much of this machine is taken by neither the generator nor the server under test."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

_IDLE_FIELDS = (3, 4)  # idle, and waiting for disks
_FIELDS = 8  # up to steal; what follows is counted in user time already


@dataclass(frozen=True, slots=True)
class MachineTime:
    """CPU seconds over all cores since the system started; `own_s`: of this process."""

    busy_s: float
    total_s: float
    own_s: float


def read_machine_time(stat: str | None = None) -> MachineTime:
    """Return the counters as they are now. stat: the text of /proc/stat, for tests."""
    text = Path("/proc/stat").read_text(encoding="ascii") if stat is None else stat
    ticks = [int(field) for field in text.splitlines()[0].split()[1 : _FIELDS + 1]]
    idle = sum(ticks[index] for index in _IDLE_FIELDS)
    per_s = os.sysconf("SC_CLK_TCK")
    return MachineTime((sum(ticks) - idle) / per_s, sum(ticks) / per_s, time.process_time())


def others_share(before: MachineTime, after: MachineTime, server_cpu_s: float) -> float:
    """Return the share of all cores that other processes took between two readings."""
    total_s = after.total_s - before.total_s
    others_s = after.busy_s - before.busy_s - (after.own_s - before.own_s) - server_cpu_s
    return max(0.0, others_s / total_s) if total_s else 0.0
