"""The error taxonomy: one class per way a request can fail, with its status on both transports.

Adapters (`rest.error_response`, `rpc`) translate these classes generically; nothing else in the
service knows a status code. `docs/errors.md` lists them and a contract test keeps it true.
"""

from __future__ import annotations

from typing import ClassVar


class ServiceError(Exception):
    """Base of every error a caller may see.

    `message` is safe to show to the caller. `param` names the request field at fault, if one is.
    `retry_after_s` is an honest estimate of when a retry may succeed, for retryable errors.
    """

    code: ClassVar[str] = "internal_error"
    error_type: ClassVar[str] = "server_error"
    http_status: ClassVar[int] = 500
    grpc_status: ClassVar[str] = "INTERNAL"
    retryable: ClassVar[bool] = False

    def __init__(
        self, message: str, *, param: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s


class InvalidRequest(ServiceError):
    """A field of the request is missing, malformed or out of range; `param` names it."""

    code = "invalid_request"
    error_type = "invalid_request_error"
    http_status = 400
    grpc_status = "INVALID_ARGUMENT"


class Unauthenticated(ServiceError):
    """No credentials, or credentials that are not known."""

    code = "unauthenticated"
    error_type = "authentication_error"
    http_status = 401
    grpc_status = "UNAUTHENTICATED"


class Forbidden(ServiceError):
    """Known credentials that do not allow this call."""

    code = "forbidden"
    error_type = "permission_error"
    http_status = 403
    grpc_status = "PERMISSION_DENIED"


class NotFound(ServiceError):
    """The addressed resource does not exist (an unknown route, request id or picture)."""

    code = "not_found"
    error_type = "invalid_request_error"
    http_status = 404
    grpc_status = "NOT_FOUND"


class ModelNotFound(NotFound):
    """The request names a model this server does not serve."""

    code = "model_not_found"


class MethodNotAllowed(ServiceError):
    """The route exists, the method does not."""

    code = "method_not_allowed"
    error_type = "invalid_request_error"
    http_status = 405
    grpc_status = "UNIMPLEMENTED"


class IdempotencyConflict(ServiceError):
    """The Idempotency-Key has been used for another request; a new request needs a new key."""

    code = "idempotency_conflict"
    error_type = "invalid_request_error"
    http_status = 409
    # Not ABORTED, which tells clients to try again: this request can never succeed.
    grpc_status = "ALREADY_EXISTS"


class PayloadTooLarge(ServiceError):
    """The body or an image in it is over the configured limit."""

    code = "payload_too_large"
    error_type = "invalid_request_error"
    http_status = 413
    grpc_status = "RESOURCE_EXHAUSTED"


class UnsupportedMediaType(ServiceError):
    """The Content-Type is not one this route reads."""

    code = "unsupported_media_type"
    error_type = "invalid_request_error"
    http_status = 415
    grpc_status = "INVALID_ARGUMENT"


class HeadersTooLarge(ServiceError):
    """The headers are too many or too long."""

    code = "headers_too_large"
    error_type = "invalid_request_error"
    http_status = 431
    grpc_status = "RESOURCE_EXHAUSTED"


class RateLimited(ServiceError):
    """The caller's own quota is used up."""

    code = "rate_limited"
    error_type = "rate_limit_error"
    http_status = 429
    grpc_status = "RESOURCE_EXHAUSTED"
    retryable = True


class Cancelled(ServiceError):
    """The caller left or cancelled; nobody reads the answer."""

    code = "cancelled"
    error_type = "invalid_request_error"
    http_status = 499
    grpc_status = "CANCELLED"


class QueueFull(ServiceError):
    """The bounded queue is full; nothing was started."""

    code = "queue_full"
    http_status = 503
    grpc_status = "UNAVAILABLE"
    retryable = True


class Draining(ServiceError):
    """The server is shutting down and takes no new work."""

    code = "draining"
    http_status = 503
    grpc_status = "UNAVAILABLE"
    retryable = True


class ModelNotReady(ServiceError):
    """The model is still loading or warming up, or has failed to load."""

    code = "model_not_ready"
    http_status = 503
    grpc_status = "UNAVAILABLE"
    retryable = True


class SignerNotReady(ServiceError):
    """The signing certificate has expired or is about to; no picture could be handed out."""

    code = "signer_not_ready"
    http_status = 503
    grpc_status = "UNAVAILABLE"
    retryable = True


class DeviceOutOfMemory(ServiceError):
    """The device ran out of memory for this request; the engine goes on."""

    code = "device_out_of_memory"
    http_status = 503
    grpc_status = "UNAVAILABLE"
    retryable = True


class DeadlineExceeded(ServiceError):
    """The deadline passed before the picture was finished; the work was stopped."""

    code = "deadline_exceeded"
    error_type = "timeout_error"
    http_status = 504
    grpc_status = "DEADLINE_EXCEEDED"


class InternalError(ServiceError):
    """A defect of ours. The caller sees a fixed message and the request id, never details."""


class DeviceLost(ServiceError):
    """The runner failed in a way the engine cannot continue from."""

    code = "device_lost"


class WatermarkFailed(ServiceError):
    """The watermark could not be embedded or did not decode from the final bytes."""

    code = "watermark_failed"


class SigningFailed(ServiceError):
    """The C2PA signature could not be made or did not verify when read back."""

    code = "signing_failed"


class EncodingFailed(ServiceError):
    """The pixels could not be encoded in the requested format."""

    code = "encoding_failed"


class LedgerFailed(ServiceError):
    """The output could not be recorded, so it is not handed out."""

    code = "ledger_failed"


class LedgerUnavailable(ServiceError):
    """The ledger's database does not answer; nothing was started."""

    code = "ledger_unavailable"
    http_status = 503
    grpc_status = "UNAVAILABLE"
    retryable = True


class StorageFull(ServiceError):
    """There is no room for pictures that are answered by link; nothing was started."""

    code = "storage_full"
    http_status = 503
    grpc_status = "UNAVAILABLE"
    retryable = True


class StorageFailed(ServiceError):
    """The pictures were made and recorded, but could not be stored to be answered by link."""

    code = "storage_failed"
    # Not a 500, whose message is never shown: this one says how to get the same pictures. Not
    # retryable: whoever asks again for a link would have them drawn again, and lose them again.
    http_status = 503
    grpc_status = "UNAVAILABLE"


class ConfigurationError(Exception):
    """The server cannot start as configured. The message says what to change.

    Not a ServiceError: it never reaches a caller, it stops the start.
    """
