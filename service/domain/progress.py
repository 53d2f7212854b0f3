"""How far a request has come, for whoever asks while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """Where a live request is."""

    QUEUED = "queued"
    RUNNING = "running"
    MARKING = "marking"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Progress:
    """A snapshot. `steps_done` and `steps_total` count over all images of the request.

    `queue_position`: images ahead of it that are not running yet; 0 when it runs.
    """

    phase: Phase
    steps_done: int
    steps_total: int
    queue_position: int
