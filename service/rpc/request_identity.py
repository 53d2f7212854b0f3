"""The id of a call: the caller's own if it sends a good one, else fresh (stop 3)."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from service.domain.identity import RequestId, new_request_id
from service.errors import InvalidRequest
from service.telemetry.logging import current_request_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from service.rpc.interception import Context

REQUEST_ID = "x-request-id"
_VALID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def offered_request_id(context: Context) -> RequestId | None:
    """Return the id that the caller sent as metadata, or None if it sent none.

    Raises InvalidRequest for anything but one value of 1-64 characters of `A-Za-z0-9._-`.
    """
    metadata = context.invocation_metadata() or ()
    offered = [value for key, value in metadata if key == REQUEST_ID]
    if not offered:
        return None
    if len(offered) > 1 or not isinstance(offered[0], str) or not _VALID.fullmatch(offered[0]):
        raise InvalidRequest(
            "x-request-id must be one value of 1 to 64 letters, digits, '.', '_' or '-'.",
            param=REQUEST_ID,
        )
    return RequestId(offered[0])


def request_id_of_call() -> RequestId:
    """Return the id of the call that the current task serves."""
    request_id = current_request_id.get()
    assert request_id is not None, "every call is served inside `identified`"
    return RequestId(request_id)


@asynccontextmanager
async def identified(method: str, context: Context) -> AsyncIterator[None]:  # noqa: ARG001
    """Give a call its id, tell the caller at once, and show it to the logs.

    A bad offered id gets a fresh one, under which the call is then refused.
    """
    try:
        request_id = offered_request_id(context) or new_request_id()
    except InvalidRequest:
        request_id = new_request_id()
    token = current_request_id.set(request_id)
    try:
        await context.send_initial_metadata(((REQUEST_ID, request_id),))
        yield
    finally:
        current_request_id.reset(token)
