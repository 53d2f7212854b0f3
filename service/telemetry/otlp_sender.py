"""The two ways to a collector: OTLP over gRPC and over HTTP.

Neither reads the environment: no `OTEL_…` variable, proxy or certificate setting of other programs
changes what is sent where.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import grpc
import httpx
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

TRACES_PATH = "/v1/traces"

# What OTLP lists as worth another try.
# Source: https://opentelemetry.io/docs/specs/otlp/, "Failures" and "Retryable response codes".
_RETRYABLE_CODES = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
_RETRYABLE_STATUSES = frozenset({429, 502, 503, 504})
_OK = 200


class NotSentError(Exception):
    """The collector did not take the spans. The message says why, and holds no secret."""

    def __init__(self, reason: str, *, is_retryable: bool) -> None:
        super().__init__(reason)
        self.is_retryable = is_retryable


class GrpcSender:
    """Sends over gRPC. `endpoint`: `http://host:port`, or `https://…` for TLS."""

    def __init__(self, endpoint: str, headers: Sequence[tuple[str, str]]) -> None:
        address = urlsplit(endpoint)
        options = [("grpc.enable_http_proxy", 0)]
        if address.scheme == "https":
            credentials = grpc.ssl_channel_credentials()
            self._channel = grpc.secure_channel(address.netloc, credentials, options)
        else:
            self._channel = grpc.insecure_channel(address.netloc, options)
        self._stub = TraceServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._metadata = tuple((name.lower(), value) for name, value in headers)

    def send(self, message: ExportTraceServiceRequest, timeout_s: float) -> int:
        """Send one message; return how many of its spans were rejected. Raises NotSentError."""
        try:
            answer = self._stub.Export(message, timeout=timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            code = error.code()
            raise NotSentError(code.name, is_retryable=code in _RETRYABLE_CODES) from None
        return int(answer.partial_success.rejected_spans)

    def close(self) -> None:
        """Close the connection, cancelling what is under way."""
        self._channel.close()


class HttpSender:
    """Sends protobuf by POST. `endpoint`: a base URL, or one that ends with /v1/traces."""

    def __init__(self, endpoint: str, headers: Sequence[tuple[str, str]]) -> None:
        base = endpoint.rstrip("/")
        self._url = base if base.endswith(TRACES_PATH) else base + TRACES_PATH
        self._client = httpx.Client(
            headers=[*headers, ("content-type", "application/x-protobuf")], trust_env=False
        )

    def send(self, message: ExportTraceServiceRequest, timeout_s: float) -> int:
        """Send one message; return how many of its spans were rejected. Raises NotSentError."""
        content = message.SerializeToString()
        try:
            answer = self._client.post(self._url, content=content, timeout=timeout_s)
        except httpx.HTTPError as error:
            raise NotSentError(type(error).__name__, is_retryable=True) from None
        if answer.status_code != _OK:
            is_retryable = answer.status_code in _RETRYABLE_STATUSES
            raise NotSentError(f"HTTP {answer.status_code}", is_retryable=is_retryable)
        try:
            taken = ExportTraceServiceResponse.FromString(answer.content)
        except DecodeError:  # taken all the same
            return 0
        return int(taken.partial_success.rejected_spans)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()
