"""What would stop the start is found before anything is started, and said in one sentence."""

from __future__ import annotations

import socket
from contextlib import nullcontext

import pytest
from pydantic import SecretStr

from models.options import LoadOptions
from service.config import ServerOptions, Settings
from service.database.options import LedgerOptions
from service.errors import ConfigurationError
from service.preflight import check_settings
from service.provenance.keys import check_key_is_shared
from service.provenance.options import ProvenanceOptions
from service.rpc.options import RpcOptions
from tests.models_kit import make_hollow_folder


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
            "ledger",
            LedgerOptions(url=SecretStr("postgresql://u:p@127.0.0.1:1/x")),
            "MINTMARK_LEDGER__URL: .*postgresql://u@127.0.0.1:1/x cannot be used: nobody listens",
        ),
        (
            "rpc",
            RpcOptions(certificate_path="/nowhere.pem", private_key_path="/nowhere.key"),
            "MINTMARK_RPC__CERTIFICATE_PATH",
        ),
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


POSTGRESQL_IS_SHARED = "CERTIFICATE_CHAIN_PATH must be set with a PostgreSQL ledger"


@pytest.mark.parametrize(
    ("options", "has_shared_ledger", "is_refused"),
    [
        (ProvenanceOptions(), True, True),
        (ProvenanceOptions(), False, False),
        (ProvenanceOptions(allow_development_ca_on_postgresql=True), True, False),
        (ProvenanceOptions(certificate_chain_path="c.pem", private_key_path="k.pem"), True, False),
    ],
)
def test_replicas_share_a_ledger_only_with_a_key(options, has_shared_ledger, is_refused):
    refused = pytest.raises(ConfigurationError, match=POSTGRESQL_IS_SHARED)
    with refused if is_refused else nullcontext():
        check_key_is_shared(options, has_shared_ledger=has_shared_ledger)


def test_every_further_model_is_checked(settings, tmp_path):
    second = str(make_hollow_folder(tmp_path / "second"))
    check_settings(settings.model_copy(update={"model": LoadOptions(also=(second,))}))
    missing = LoadOptions(also=(second, "/nowhere/at/all"))
    with pytest.raises(ConfigurationError, match=r"MINTMARK_MODEL__ALSO: .*/nowhere/at/all"):
        check_settings(settings.model_copy(update={"model": missing}))


def test_two_models_of_one_name_are_refused(settings, tmp_path):
    folders = [str(make_hollow_folder(tmp_path / place / "same")) for place in "ab"]
    twice = LoadOptions(path=folders[0], also=(folders[1],))
    said = rf"MINTMARK_MODEL__ALSO: the model {folders[1]} has the id 'same', and so has another"
    with pytest.raises(ConfigurationError, match=said):
        check_settings(settings.model_copy(update={"model": twice}))
