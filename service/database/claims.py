"""What replicas tell each other about requests that are made again. Needs no database library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Claimed:
    """Nobody else carries the request out: whoever asked does. `claim`: proves it later."""

    claim: str


@dataclass(frozen=True, slots=True)
class InProgress:
    """Somebody carries out a request under this key. `request_sha256`: which one."""

    request_sha256: bytes


@dataclass(frozen=True, slots=True)
class Answered:
    """The request has been carried out. `content`: what was kept of its answer."""

    request_sha256: bytes
    content: bytes


class SharedAnswers(Protocol):
    """Requests under way and answers, by key, for all replicas. Blocking, thread-safe.

    `lease_s`: how long a claim counts that is not renewed. Every method raises LedgerFailed.
    """

    lease_s: float

    def claim(self, key_sha256: bytes, request_sha256: bytes) -> Claimed | InProgress | Answered:
        """Return the claim, or what there is already under this key."""

    def renew(self, key_sha256: bytes, claim: str) -> None:
        """Let a claim count for another `lease_s`."""

    def answer(self, key_sha256: bytes, claim: str, content: bytes) -> None:
        """Keep the answer, unless it is too large or somebody else has claimed the key since."""

    def release(self, key_sha256: bytes, claim: str) -> None:
        """Give the key free: there is no answer worth keeping."""
