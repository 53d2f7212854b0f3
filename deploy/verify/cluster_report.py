"""What a verification says: what was proven, and what the old server cannot show."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from deploy.verify.cluster_processes import ClusterFault

if TYPE_CHECKING:
    from collections.abc import Callable

_POLL_S = 0.2


class Report:
    """Writes each sentence when it is known, with the seconds since the start."""

    def __init__(self, write: Callable[[str], object] = sys.stdout.write) -> None:
        self._write = write
        self._started_s = time.monotonic()
        self.proven: list[str] = []
        self.not_shown: list[str] = []

    def section(self, title: str) -> None:
        """Begin a part."""
        self._write(f"{self.elapsed_s():6.0f} s  {title}\n")

    def prove(self, is_so: bool, sentence: str, seen: object = None) -> None:
        """Note what is so. Raises ClusterFault with what was seen if it is not."""
        if not is_so:
            raise ClusterFault(f"not so: {sentence} (seen: {seen})")
        self.proven.append(sentence)
        self._write(f"  proven     {sentence}\n")

    def prove_soon(
        self,
        condition: Callable[[], bool],
        sentence: str,
        limit_s: float,
        seen: Callable[[], object],
    ) -> None:
        """Wait until something is so. Raises ClusterFault if it takes longer than `limit_s`."""
        wait_until(condition, sentence, limit_s, seen)
        self.prove(True, sentence)

    def leave_out(self, sentence: str) -> None:
        """Say, once, what is not shown here."""
        if sentence not in self.not_shown:
            self.not_shown.append(sentence)
            self._write(f"  not shown  {sentence}\n")

    def elapsed_s(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self._started_s


def wait_until(
    condition: Callable[[], bool],
    sentence: str,
    limit_s: float,
    seen: Callable[[], object] = lambda: None,
) -> None:
    """Wait for a condition. Raises ClusterFault with what was `seen` after `limit_s`."""
    ends_at_s = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > ends_at_s:
            raise ClusterFault(f"not within {limit_s:.0f} s: {sentence} (seen: {seen()})")
        time.sleep(_POLL_S)


def holds_for(condition: Callable[[], bool], duration_s: float) -> bool:
    """Say whether a condition is true all the time."""
    ends_at_s = time.monotonic() + duration_s
    while time.monotonic() < ends_at_s:
        if not condition():
            return False
        time.sleep(_POLL_S)
    return True
