"""What would stop the start is found before anything is started, and said in one sentence."""

from __future__ import annotations

import socket

import pytest
from pydantic import SecretStr

from models.options import LoadOptions
from service.config import ServerOptions, Settings
from service.errors import ConfigurationError
from service.preflight import check_settings
from service.provenance.options import LedgerOptions, ProvenanceOptions


@pytest.fixture
def settings(tmp_path):
    ports = []
    for _ in range(2):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            ports.append(probe.getsockname()[1])
    server = ServerOptions(state_dir=tmp_path / "state", http_port=ports[0], grpc_port=ports[1])
    return Settings(server=server)


def test_the_defaults_pass(settings):
    check_settings(settings)
    assert (settings.server.state_dir / "development-ca").is_dir()


@pytest.mark.parametrize("field", ["http_port", "grpc_port"])
def test_a_port_in_use_is_named(settings, field):
    taken = ("127.0.0.1", getattr(settings.server, field))
    named = f"MINTMARK_SERVER__{field.upper()}"
    with socket.create_server(taken), pytest.raises(ConfigurationError, match=named):
        check_settings(settings)


def test_an_address_that_is_not_ours_is_named(settings):
    server = settings.server.model_copy(update={"host": "192.0.2.1"})
    with pytest.raises(ConfigurationError, match=r"192\.0\.2\.1"):
        check_settings(settings.model_copy(update={"server": server}))


@pytest.mark.parametrize(
    ("section", "options", "said"),
    [
        ("model", LoadOptions(path="/nowhere/at/all"), "/nowhere/at/all"),
        ("ledger", LedgerOptions(url=SecretStr("nonsense")), "MINTMARK_LEDGER__URL"),
        (
            "provenance",
            ProvenanceOptions(certificate_chain_path="/nowhere.pem", private_key_path="/n.pem"),
            "MINTMARK_PROVENANCE__",
        ),
    ],
)
def test_what_cannot_be_loaded_is_named(settings, section, options, said):
    with pytest.raises(ConfigurationError, match=said):
        check_settings(settings.model_copy(update={section: options}))
