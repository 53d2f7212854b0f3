"""What one client asks for, what became of it, and who can be asked."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol

_REFUSAL_STATUSES = frozenset({429, 503})
# 503 as well, but for work that had begun.
_BEGUN_CODES = frozenset({"device_out_of_memory", "storage_failed"})


class Kind(StrEnum):
    """How a request ended, as its client sees it."""

    DONE = "done"
    """All pictures came."""
    REFUSED = "refused"
    """Turned away before any work: over a quota, a full queue, a server about to end."""
    FAILED = "failed"
    """Any other error."""
    LEFT = "left"
    """The client left, as the scenario wanted."""
    TIMED_OUT = "timed_out"
    """The client waited as long as it was ready to, or until the run was over."""
    OVERFLOW = "overflow"
    """Never sent: as many as `max_in_flight` were under way when it was due."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """What one client asks for, and how it behaves. None means "not said".

    `profile`: a name that groups requests of equal cost. `size_px`: (width, height).
    `leave_after_s`: the client leaves so long after sending, whatever has come by then.
    `read_bytes_per_s`: how fast the client takes its answer; None for as fast as it comes.
    """

    profile: str
    prompt: str
    seed: int
    n: int = 1
    size_px: tuple[int, int] | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    scheduler: str | None = None
    output_format: Literal["png", "jpeg", "webp"] | None = None
    is_streamed: bool = False
    partial_images: int = 0
    leave_after_s: float | None = None
    read_bytes_per_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one request. `code`: the server's typed one, or ours; "" for success.

    `pictures`: the files, in order. `first_event_s`: from sending to the first preview or picture,
    for streams.
    """

    kind: Kind
    code: str = ""
    pictures: tuple[bytes, ...] = ()
    first_event_s: float | None = None


class Target(Protocol):
    """A server under load. `send` may be cancelled at any time, and then leaves the server."""

    async def send(self, request: ImageRequest) -> Outcome:
        """Ask once, without retries, and return what became of it; never raises for an answer."""
        ...


def kind_of_status(status: int, code: str) -> Kind:
    """Return how a request with an HTTP status other than 200 ended; `code` is the typed one."""
    if status in _REFUSAL_STATUSES and code not in _BEGUN_CODES:
        return Kind.REFUSED
    return Kind.FAILED
