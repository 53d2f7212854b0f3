"""What a failed call raises.

MintmarkError
├── InvalidArgument     a field of the request is at fault: `param`
├── NotFound            an unknown model or request
├── AccessDenied        no key, an unknown one, or one that does not allow the call
├── LimitExceeded       the caller's quota, or a message that is too large
├── Unavailable         try again, or elsewhere: `retry_after_s`
├── DeadlineExceeded    the time that the caller or the server allows is over
├── Cancelled           somebody stopped the request
└── ServerError         a defect, or an answer that is none of the above
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RequestInfo, RetryInfo
from grpc_status import rpc_status

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from google.rpc.status_pb2 import Status


class MintmarkError(Exception):
    """Base of every error of a call.

    `code`: the server's own, as in docs/errors.md; "" if it could not be asked. `param`: the field
    at fault, if one is. `request_id`: to look the call up in the server's log. `retry_after_s`:
    when a retry may succeed; None if none is expected to.
    """

    def __init__(self, message: str, *, status: grpc.StatusCode, facts: ErrorFacts) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = facts.code
        self.param = facts.param
        self.request_id = facts.request_id
        self.retry_after_s = facts.retry_after_s


class ErrorFacts:
    """What the details of a status say; everything is missing if there are none."""

    def __init__(self, status: Status | None, request_id: str | None) -> None:
        info = _detail(status, ErrorInfo)
        identity = _detail(status, RequestInfo)
        fault = _detail(status, BadRequest)
        retry = _detail(status, RetryInfo)
        self.code: str = info.reason if info else ""
        self.request_id: str | None = identity.request_id if identity else request_id
        self.param: str | None = fault.field_violations[0].field if fault else None
        self.retry_after_s: float | None = (
            retry.retry_delay.ToNanoseconds() / 1e9 if retry else None
        )


class InvalidArgument(MintmarkError):
    """A field of the request is missing, malformed or out of range."""


class NotFound(MintmarkError):
    """The model or the request is not known."""


class AccessDenied(MintmarkError):
    """No key, an unknown one, or one that does not allow this call."""


class LimitExceeded(MintmarkError):
    """The caller's quota is used up, or a message is too large."""


class Unavailable(MintmarkError):
    """The server cannot be reached, is full, still loading, or about to end."""


class DeadlineExceeded(MintmarkError):
    """The time that the caller or the server allows is over; the work was stopped."""


class Cancelled(MintmarkError):
    """The request was stopped, by its id or by whoever called."""


class ServerError(MintmarkError):
    """A defect of the server, or an answer that no other class stands for."""


_CLASSES: dict[grpc.StatusCode, type[MintmarkError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.UNAUTHENTICATED: AccessDenied,
    grpc.StatusCode.PERMISSION_DENIED: AccessDenied,
    grpc.StatusCode.RESOURCE_EXHAUSTED: LimitExceeded,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.CANCELLED: Cancelled,
}


def error_from(error: grpc.RpcError) -> MintmarkError:
    """Return what gRPC raised, blocking or not, as an error of ours."""
    call: Any = error  # both kinds are calls as well, which the type does not say
    status = call.code()
    request_id = dict(call.initial_metadata() or ()).get("x-request-id")
    facts = ErrorFacts(rpc_status.from_call(call), request_id)
    return _CLASSES.get(status, ServerError)(call.details() or "", status=status, facts=facts)


def _detail(status: Status | None, kind: type[Message]) -> Any:
    """Return the first detail of one kind, or None."""
    for packed in status.details if status is not None else ():
        detail = kind()
        if packed.Unpack(detail):
            return detail
    return None
