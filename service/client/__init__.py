"""A typed Python client of `mintmark.v1` over gRPC: docs/grpc.md.

It needs grpcio, protobuf and googleapis-common-protos, and nothing of the server.
"""

from __future__ import annotations

from service.client.aio import AsyncMintmarkClient
from service.client.blocking import MintmarkClient
from service.client.connection import Tls
from service.client.errors import (
    AccessDenied,
    Cancelled,
    DeadlineExceeded,
    InvalidArgument,
    LimitExceeded,
    MintmarkError,
    NotFound,
    ServerError,
    Unavailable,
)
from service.client.requests import EditOptions, GenerateOptions
from service.client.results import (
    Accepted,
    Done,
    Event,
    FinishedImage,
    Generated,
    ModelFacts,
    Picture,
    Preview,
    Progress,
    Report,
)

__all__ = [
    "Accepted",
    "AccessDenied",
    "AsyncMintmarkClient",
    "Cancelled",
    "DeadlineExceeded",
    "Done",
    "EditOptions",
    "Event",
    "FinishedImage",
    "GenerateOptions",
    "Generated",
    "InvalidArgument",
    "LimitExceeded",
    "MintmarkClient",
    "MintmarkError",
    "ModelFacts",
    "NotFound",
    "Picture",
    "Preview",
    "Progress",
    "Report",
    "ServerError",
    "Tls",
    "Unavailable",
]
