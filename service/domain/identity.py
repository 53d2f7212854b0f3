"""Who a request is and how long it may take."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import NewType

RequestId = NewType("RequestId", str)
OutputId = NewType("OutputId", str)


def new_request_id() -> RequestId:
    """Return a fresh, unguessable request id, e.g. `req_5f0c…` (128 random bits)."""
    return RequestId(f"req_{secrets.token_hex(16)}")


def new_output_id() -> OutputId:
    """Return a fresh, unguessable output id, e.g. `out_91ab…` (128 random bits)."""
    return OutputId(f"out_{secrets.token_hex(16)}")


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point on the monotonic clock (seconds, as `time.monotonic`) after which work is stopped."""

    at_s: float

    @classmethod
    def after(cls, timeout_s: float, now_s: float) -> Deadline:
        """Return the deadline `timeout_s` seconds after `now_s`."""
        return cls(now_s + timeout_s)

    def is_past(self, now_s: float) -> bool:
        """Tell whether `now_s` is at or beyond the deadline."""
        return now_s >= self.at_s

    def remaining_s(self, now_s: float) -> float:
        """Return the seconds left, never below 0."""
        return max(0.0, self.at_s - now_s)
