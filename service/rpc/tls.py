"""The server's certificate, which may be replaced while it serves."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import grpc
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509 import load_pem_x509_certificates

from service.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

    from service.rpc.options import RpcOptions

logger = logging.getLogger(__name__)

_CERTIFICATE = "MINTMARK_RPC__CERTIFICATE_PATH"
_PRIVATE_KEY = "MINTMARK_RPC__PRIVATE_KEY_PATH"
_CLIENT_CA = "MINTMARK_RPC__CLIENT_CA_PATH"

_FileState = tuple[int, int, int]


def check_certificate(options: RpcOptions) -> None:
    """Raise ConfigurationError, naming the setting, for files that a server could not use."""
    if options.uses_tls:
        RotatingCertificate(options)


class RotatingCertificate:
    """Reads the mounted files, and reads them again when they have changed.

    Files that do not fit together, which a rotation may show for a moment, change nothing: what
    was good before goes on to serve, and the log says why.
    Raises ConfigurationError, naming the setting, if the first reading fails.
    """

    def __init__(self, options: RpcOptions) -> None:
        assert options.certificate_path is not None
        assert options.private_key_path is not None
        self._certificate_path = options.certificate_path
        self._key_path = options.private_key_path
        self._ca_path = options.client_ca_path
        self._seen = self._states()
        self._first = self._read()

    def server_credentials(self) -> grpc.ServerCredentials:
        """Return credentials that ask for the certificate again at every new connection."""
        return grpc.dynamic_ssl_server_credentials(
            self._first,
            self._fetch,  # type: ignore[arg-type]  # they lack the None
            require_client_authentication=self._ca_path is not None,
        )

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """Return what has changed, or None. Called on a thread of gRPC's, at every handshake."""
        states = self._states()
        if states == self._seen:
            return None
        self._seen = states  # noted before reading: a change in between is seen the next time
        try:
            fresh = self._read()
        except ConfigurationError as error:
            logger.error("the gRPC certificate was not replaced: %s", error)  # noqa: TRY400
            return None
        logger.info("the gRPC certificate was replaced")
        return fresh

    def _states(self) -> tuple[_FileState | None, ...]:
        paths = (self._certificate_path, self._key_path, self._ca_path)
        return tuple(None if path is None else _state(path) for path in paths)

    def _read(self) -> grpc.ServerCertificateConfiguration:
        chain = _bytes_of(self._certificate_path, _CERTIFICATE)
        key = _bytes_of(self._key_path, _PRIVATE_KEY)
        roots = None if self._ca_path is None else _bytes_of(self._ca_path, _CLIENT_CA)
        _check_pair(chain, self._certificate_path, key, self._key_path)
        if roots is not None:
            assert self._ca_path is not None
            _check_roots(roots, self._ca_path)
        return grpc.ssl_server_certificate_configuration([(key, chain)], roots)


def _state(path: Path) -> _FileState | None:
    """Return what differs once a file has been written or replaced, also through symlinks."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _bytes_of(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise ConfigurationError(f"{setting}: {path} cannot be read: {exc.strerror}.") from exc


def _check_pair(chain: bytes, chain_path: Path, key: bytes, key_path: Path) -> None:
    try:
        leaf = load_pem_x509_certificates(chain)[0]
    except ValueError as exc:
        raise ConfigurationError(f"{_CERTIFICATE}: {chain_path} holds no certificate.") from exc
    try:
        private_key = load_pem_private_key(key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise ConfigurationError(
            f"{_PRIVATE_KEY}: {key_path} holds no private key that can be read without a password."
        ) from exc
    if _encoded(private_key.public_key()) != _encoded(leaf.public_key()):
        raise ConfigurationError(
            f"{_PRIVATE_KEY}: {key_path} does not belong to the first certificate of {chain_path}."
        )
    if leaf.not_valid_after_utc <= datetime.now(UTC):
        raise ConfigurationError(
            f"{_CERTIFICATE}: {chain_path} expired on {leaf.not_valid_after_utc:%Y-%m-%d}."
        )


def _check_roots(roots: bytes, path: Path) -> None:
    try:
        load_pem_x509_certificates(roots)
    except ValueError as exc:
        raise ConfigurationError(f"{_CLIENT_CA}: {path} holds no certificate.") from exc


def _encoded(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
