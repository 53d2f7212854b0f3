"""How a client reaches a server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_TARGET = "127.0.0.1:3001"

ChannelOptions = list[tuple[str, str | int]]
Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Tls:
    """What an encrypted connection needs; everything is PEM.

    `root_certificates`: whom to trust; None means gRPC's own list of public authorities.
    `private_key`, `certificate_chain`: this client's own, for servers that ask for one.
    `server_name`: the name in the server's certificate, if it is not that of the target.
    """

    root_certificates: bytes | None = None
    private_key: bytes | None = None
    certificate_chain: bytes | None = None
    server_name: str | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Return the same as gRPC takes it."""
        return grpc.ssl_channel_credentials(
            self.root_certificates, self.private_key, self.certificate_chain
        )


def channel_options(tls: Tls | None) -> ChannelOptions:
    """Return what every channel of ours is set to."""
    # Pictures are larger than gRPC's default of 4 MB. The server bounds what it receives.
    options: ChannelOptions = [
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
    ]
    if tls is not None and tls.server_name is not None:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    return options


def call_metadata(api_key: str | None, request_id: str | None = None) -> Metadata:
    """Return what goes with a call beside its message."""
    pairs: Sequence[tuple[str, str | None]] = (
        ("authorization", None if api_key is None else f"Bearer {api_key}"),
        ("x-request-id", request_id),
    )
    return tuple((key, value) for key, value in pairs if value is not None)
