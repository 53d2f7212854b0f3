"""CPU seconds of every process that a server consists of, by the same rule for every subject."""

from __future__ import annotations

import os
from pathlib import Path

_NUMBER, _PARENT = 0, 3
_TIMES = slice(13, 17)  # user and system time, its own and of children that were waited for


def descendants_cpu_s(root: int, proc: Path = Path("/proc")) -> float:
    """Return the CPU seconds that all living descendants of a process have taken, without its own.

    proc: where the kernel shows processes, for tests. Workers that have ended count if their parent
    has waited for them.
    """
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for folder in proc.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            fields = _fields((folder / "stat").read_text(encoding="utf-8", errors="replace"))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
        number = int(fields[_NUMBER])
        parents[number] = int(fields[_PARENT])
        ticks[number] = sum(int(field) for field in fields[_TIMES])
    mine = [number for number in parents if _descends(number, root, parents)]
    return sum(ticks[number] for number in mine) / os.sysconf("SC_CLK_TCK")


def _fields(stat: str) -> list[str]:
    """Return the fields; the second, a name in brackets, may hold spaces and brackets itself."""
    number, _, rest = stat.partition(" (")
    return [number, "", *rest.rpartition(") ")[2].split()]


def _descends(number: int, root: int, parents: dict[int, int]) -> bool:
    while number in parents:
        number = parents[number]
        if number == root:
            return True
    return False
