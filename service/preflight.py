"""Looks for what would stop the start, before any process is started.

The worker checks everything again; this is for one clear line at once instead of a traceback of
the process supervisor some seconds later.
"""

from __future__ import annotations

import socket
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

from models.registry import read_spec
from service.database.database import Database
from service.errors import ConfigurationError
from service.model_set import open_each
from service.provenance.keys import check_key_is_shared, load_signing_material
from service.rpc.tls import check_certificate
from service.storage.build import build_storage

if TYPE_CHECKING:
    from service.config import Settings


def check_settings(settings: Settings) -> None:
    """Check ports, models, certificates, keys and ledger. Loads no network, keeps nothing open.

    Raises ConfigurationError with one sentence about the first problem found. Makes the
    development certificates and the ledger's tables if they do not exist yet.
    """
    server = settings.server
    _check_port(server.host, server.http_port, "MINTMARK_SERVER__HTTP_PORT")
    _check_port(server.host, server.grpc_port, "MINTMARK_SERVER__GRPC_PORT")
    if server.admin_port is not None:
        _check_port(server.host, server.admin_port, "MINTMARK_SERVER__ADMIN_PORT")
    # Digests are the worker's to check: hashing a large model twice would double the start.
    options = settings.model.model_copy(update={"verify_digests": False})
    open_each(options, read_spec, lambda spec: spec.model_id)
    check_certificate(settings.rpc)
    with closing(Database.open(settings.ledger, server.state_dir)) as database:
        check_key_is_shared(settings.provenance, has_shared_ledger=database.is_shared)
    load_signing_material(settings.provenance, server.state_dir)
    with ExitStack() as stack:
        build_storage(settings.storage, server.state_dir, stack)


def _check_port(host: str, port: int, setting: str) -> None:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As the server does: a port in TIME_WAIT is free, one that is listened on is not.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as exc:
        raise ConfigurationError(f"{setting}: {host}:{port} cannot be used: {exc}.") from exc
