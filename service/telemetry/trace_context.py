"""Which trace a request belongs to: W3C Trace Context, read and continued (stop 1)."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 0b1
_MAX_STATE_CHARS = 512  # what the standard asks everyone to carry at least
_MAX_STATE_MEMBERS = 32
_MEMBER = re.compile(r"[a-z0-9][a-z0-9_\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{1,256}")


@dataclass(frozen=True, slots=True)
class Parent:
    """The span of the caller. Ids in lower-case hex; `state`: the tracestate to pass on, or ""."""

    trace_id: str
    span_id: str
    is_sampled: bool
    state: str = ""


@dataclass(frozen=True, slots=True)
class TraceContext:
    """The place of one request in a trace: the ids of its own span, and its parent if it has one.

    `trace_id`: 32 digits of hex; `span_id`: 16. `is_sampled`: whether its spans are kept.
    """

    trace_id: str
    span_id: str
    is_sampled: bool
    parent: Parent | None = None


def parse_parent(traceparents: Sequence[str], tracestates: Sequence[str] = ()) -> Parent | None:
    """Return what the headers of a request say, or None if they say nothing that can be trusted.

    Source: W3C Trace Context, https://www.w3.org/TR/trace-context/, sections 2.2, 2.3 and 4.
    """
    if len(traceparents) != 1:
        return None
    match = _TRACEPARENT.fullmatch(traceparents[0].strip())
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    is_valid = version != "ff" and not (version == "00" and more)
    if not is_valid or not trace_id.strip("0") or not span_id.strip("0"):
        return None
    is_sampled = bool(int(flags, 16) & _SAMPLED)
    return Parent(trace_id, span_id, is_sampled, _tracestate(tracestates))


def continue_trace(parent: Parent | None, sample_ratio: float) -> TraceContext:
    """Return a place in the trace of `parent`, kept if the caller keeps it, or in a fresh trace.

    `sample_ratio`: the share of fresh traces that is kept, 0 .. 1, decided by the trace id, so that
    every server with the same ratio decides alike.
    """
    span_id = new_span_id()
    if parent is not None:
        return TraceContext(parent.trace_id, span_id, parent.is_sampled, parent)
    trace_id = secrets.token_hex(16)
    is_sampled = int(trace_id[16:], 16) < sample_ratio * 2**64
    return TraceContext(trace_id, span_id, is_sampled)


def new_span_id() -> str:
    """Return a fresh span id, 16 digits of hex."""
    return secrets.token_hex(8)


def _tracestate(values: Sequence[str]) -> str:
    """Join what came in one or several headers; drop it all if it does not follow the standard."""
    members = [member.strip() for value in values for member in value.split(",")]
    members = [member for member in members if member]
    joined = ",".join(members)
    is_valid = len(members) <= _MAX_STATE_MEMBERS and len(joined) <= _MAX_STATE_CHARS
    return joined if is_valid and all(map(_MEMBER.fullmatch, members)) else ""
