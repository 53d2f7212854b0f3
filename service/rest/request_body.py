"""Reading request bodies: bounded, in time, and strict about JSON (stop 1)."""

from __future__ import annotations

import asyncio
import json
import math
from typing import TYPE_CHECKING, Any, NoReturn

from service.errors import (
    DeadlineExceeded,
    InvalidRequest,
    PayloadTooLarge,
    UnsupportedMediaType,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# 2**64 has 20 digits; a longer number is no seed, and parsing it would take quadratic time.
_MAX_INTEGER_DIGITS = 20
_IDLE_S = 30.0


class BodyGuard:
    """Lets no body past its limit, with or without Content-Length, nor one that never ends.

    `limit_bytes`: the limit for a path. `timeout_s`: from the headers to the body's last byte.
    `idle_s`: without any byte of it.
    """

    def __init__(
        self,
        app: ASGIApp,
        limit_bytes: Callable[[str], int],
        timeout_s: float,
        idle_s: float = _IDLE_S,
    ) -> None:
        self._app = app
        self._limit_bytes = limit_bytes
        self._timeout_s = timeout_s
        self._idle_s = idle_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; raises PayloadTooLarge or DeadlineExceeded into whoever reads."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit_bytes = self._limit_bytes(scope["path"])
        declared_bytes = _declared_bytes(scope)
        loop = asyncio.get_running_loop()
        ends_at_s = loop.time() + self._timeout_s
        received_bytes, is_complete = 0, False

        async def guarded_receive() -> Message:
            nonlocal received_bytes, is_complete
            if is_complete:  # what follows is the wait for the client to leave
                return await receive()
            if declared_bytes > limit_bytes:
                _refuse(limit_bytes)
            try:
                async with asyncio.timeout_at(min(ends_at_s, loop.time() + self._idle_s)):
                    message = await receive()
            except TimeoutError:
                raise DeadlineExceeded("The request body did not arrive in time.") from None
            received_bytes += len(message.get("body", b""))
            is_complete = not message.get("more_body", False)
            if received_bytes > limit_bytes:
                _refuse(limit_bytes)
            return message

        await self._app(scope, guarded_receive, send)


def _declared_bytes(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and len(value) <= _MAX_INTEGER_DIGITS:
            return int(value)
    return 0


def _refuse(limit_bytes: int) -> NoReturn:
    raise PayloadTooLarge(f"The request body is over {limit_bytes} bytes.")


def require_media_type(request: Request, wanted: str) -> None:
    """Raise UnsupportedMediaType unless the body is declared as `wanted`, uncompressed."""
    declared = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if declared != wanted:
        raise UnsupportedMediaType(f"The Content-Type must be {wanted}.")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMediaType("The request body must not be compressed.")


async def read_json_object(request: Request) -> dict[str, Any]:
    """Return the body as a JSON object, read by `parse_json_object`.

    Raises UnsupportedMediaType or InvalidRequest.
    """
    require_media_type(request, "application/json")
    return parse_json_object(await request.body())


def parse_json_object(content: bytes) -> dict[str, Any]:
    """Return `content` as a JSON object.

    Stricter than Python's parser: UTF-8, no duplicate keys, no NaN or infinity, no integers of
    more than 20 digits. Raises InvalidRequest, which never quotes it.
    """
    try:
        value = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_object_without_duplicates,
            parse_constant=_refuse_constant,
            parse_float=_finite_float,
            parse_int=_short_integer,
        )
    except UnicodeDecodeError:
        raise InvalidRequest("The request body is not UTF-8 text.") from None
    except json.JSONDecodeError as exc:
        where = f"line {exc.lineno}, column {exc.colno}"
        raise InvalidRequest(f"The request body is not JSON: {exc.msg} ({where}).") from None
    except RecursionError:
        raise InvalidRequest("The request body is nested too deeply.") from None
    if not isinstance(value, dict):
        raise InvalidRequest("The request body must be a JSON object.")
    return value


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise InvalidRequest("The request body names a field twice.")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidRequest(f"The request body holds {name}, which is not JSON.")


def _finite_float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise InvalidRequest("The request body holds a number that is too large.")
    return value


def _short_integer(digits: str) -> int:
    if len(digits.removeprefix("-")) > _MAX_INTEGER_DIGITS:
        raise InvalidRequest("The request body holds a number that is too large.")
    return int(digits)
