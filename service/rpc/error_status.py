"""Every error as a google.rpc.Status: one function for all, and the boundary that calls it."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RequestInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from service.errors import InternalError, ServiceError
from service.rpc.request_identity import offered_request_id, request_id_of_call
from service.telemetry.request_record import note_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from google.protobuf.message import Message

    from service.domain.identity import RequestId
    from service.rpc.interception import Context

logger = logging.getLogger(__name__)

DOMAIN = "mintmark"

_DEFAULT_RETRY_AFTER_S = 1.0
_INTERNAL = 500
# The status travels twice in headers, which clients bound to 8 KB.
_MAX_MESSAGE_CHARS = 1000


def error_status(error: ServiceError, request_id: RequestId) -> Status:
    """Return `error` as a status with its details; see the proto for what they are.

    What HTTP answers with 500 carries a fixed message and the request id, whatever the error says.
    """
    message = error.message
    if error.http_status == _INTERNAL:
        message = f"The server failed to answer this request. Its id is {request_id}."
    status = Status(
        code=grpc.StatusCode[error.grpc_status].value[0],
        message=message[:_MAX_MESSAGE_CHARS],
    )
    for detail in _details(error, status.message, request_id):
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def _details(error: ServiceError, message: str, request_id: RequestId) -> Iterator[Message]:
    yield ErrorInfo(reason=error.code, domain=DOMAIN)
    yield RequestInfo(request_id=request_id)
    if error.param is not None:
        violation = BadRequest.FieldViolation(field=error.param, description=message)
        yield BadRequest(field_violations=[violation])
    if error.retryable:
        wait_s = error.retry_after_s if error.retry_after_s is not None else _DEFAULT_RETRY_AFTER_S
        delay = Duration()
        delay.FromNanoseconds(int(wait_s * 1e9))
        yield RetryInfo(retry_delay=delay)


@asynccontextmanager
async def shaped_errors(method: str, context: Context) -> AsyncIterator[None]:  # noqa: ARG001
    """Be the outermost adapter: whatever is raised inside leaves as a status with details."""
    try:
        offered_request_id(context)  # refused here, where a refusal has a shape
        yield
    except grpc.aio.AbortError:  # a library's own answer, such as that of an unknown health name
        raise
    except Exception as exc:  # noqa: BLE001 - the one place: see above
        error = _to_service_error(exc)
        note_error(error.code)
        status = rpc_status.to_status(error_status(error, request_id_of_call()))
        await context.abort(status.code, status.details, status.trailing_metadata)


def _to_service_error(exc: Exception) -> ServiceError:
    """Log what is a defect, and map what nobody foresaw."""
    if isinstance(exc, ServiceError):
        if exc.http_status == _INTERNAL:
            logger.error("request failed: %s", exc.message, exc_info=exc)
        return exc
    logger.error("request failed", exc_info=exc)
    return InternalError("unforeseen")
