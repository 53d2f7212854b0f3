"""A database that cannot be used stops the start with one sentence, without its password."""

from __future__ import annotations

import socket
import sys
import time

import pytest
from pydantic import SecretStr

from service.access.control import open_access
from service.bootstrap import build_application
from service.config import ServerOptions, Settings
from service.database.database import Database
from service.database.options import LedgerOptions
from service.database.upkeep import migrate_ledger
from service.errors import ConfigurationError
from service.preflight import check_settings
from service.provenance.options import ProvenanceOptions
from service.telemetry.metrics import Metrics
from tests.e2e.server import free_ports
from tests.postgres_kit import PASSWORD, USER


def refusal(url, tmp_path, **overrides) -> str:
    options = LedgerOptions(**{"url": SecretStr(url), "connect_timeout_s": 10, **overrides})
    with pytest.raises(ConfigurationError) as caught:
        Database.open(options, tmp_path)
    said = str(caught.value)
    assert said.startswith("MINTMARK_LEDGER__URL: ")
    assert said.endswith(".")
    assert "\n" not in said
    for secret in (PASSWORD, "hunter2"):
        assert secret not in said
    return said


def test_a_wrong_password_is_named_as_such(postgres, tmp_path):
    said = refusal(postgres.url(password="hunter2"), tmp_path)
    assert f'password authentication failed for user "{USER}"' in said
    assert f"127.0.0.1:{postgres.port}/postgres" in said


def test_a_missing_database_is_named_as_such(postgres, tmp_path):
    assert 'database "nowhere" does not exist' in refusal(
        postgres.url(database="nowhere"), tmp_path
    )


def test_a_port_that_nobody_listens_on(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    said = refusal(f"postgresql://u:hunter2@127.0.0.1:{port}/x", tmp_path)
    assert said.endswith("cannot be used: nobody listens there.")


def test_a_host_without_an_address(tmp_path):
    said = refusal("postgresql://u:hunter2@no.such.host.invalid/x", tmp_path)
    assert said.endswith("cannot be used: the name of its host is not known.")


def test_a_server_that_never_answers_is_given_up_within_the_timeout(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://u:hunter2@127.0.0.1:{silent.getsockname()[1]}/x"
        began_s = time.monotonic()
        said = refusal(url, tmp_path, connect_timeout_s=2)
    assert time.monotonic() - began_s < 15
    assert said.endswith("cannot be used: no answer came in time.")


def test_a_server_without_tls_where_tls_is_asked_for(postgres, tmp_path):
    said = refusal(postgres.url() + "?sslmode=require", tmp_path)
    assert said.endswith("cannot be used: TLS could not be agreed on.")


def test_a_parameter_that_there_is_not(postgres, tmp_path):
    said = refusal(postgres.url() + "?hunter3=x", tmp_path)
    assert said.endswith("the URL has a parameter that is none of libpq's.")


def test_a_missing_driver_is_named_with_how_to_get_it(postgres, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    said = refusal(postgres.url(), tmp_path)
    assert said.endswith(
        "its driver is missing; install it with: pip install 'mintmark[postgres]'."
    )


def test_a_read_only_database(postgres, name, tmp_path):
    migrate_ledger(postgres.options(name), tmp_path)
    postgres.execute(f"ALTER ROLE {name} SET default_transaction_read_only = on")
    assert "read-only" in refusal(postgres.url(name), tmp_path)


def test_an_empty_read_only_database(postgres, name, tmp_path):
    postgres.execute(f"ALTER ROLE {name} SET default_transaction_read_only = on")
    assert refusal(postgres.url(name), tmp_path).endswith("cannot be used: it is read-only.")


def test_a_user_without_rights(postgres, name, tmp_path):
    postgres.execute(f"CREATE ROLE {name}_app LOGIN PASSWORD 'hunter2'")
    postgres.execute(f"ALTER ROLE {name}_app SET search_path = {name}")
    postgres.execute(f"GRANT USAGE ON SCHEMA {name} TO {name}_app", name)
    url = postgres.url(f"{name}_app", password="hunter2")
    assert "may not make or read the ledger's tables" in refusal(url, tmp_path)
    migrate_ledger(postgres.options(name), tmp_path)
    postgres.execute(f"GRANT SELECT ON ledger_revision, outputs, answers TO {name}_app", name)
    assert "lacks rights on the ledger's tables" in refusal(url, tmp_path)
    postgres.execute(f"GRANT INSERT ON outputs TO {name}_app", name)
    postgres.execute(f"GRANT INSERT, UPDATE, DELETE ON answers TO {name}_app", name)
    options = LedgerOptions(url=SecretStr(url), migrate_at_start=False)
    Database.open(options, tmp_path).close()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_way_to_write_the_scheme_is_taken(postgres, name, tmp_path, scheme):
    url = postgres.url(name).replace("postgresql", scheme, 1)
    Database.open(LedgerOptions(url=SecretStr(url)), tmp_path).close()


@pytest.mark.parametrize("scheme", ["mysql", "postgresql+asyncpg", "oracle+oracledb"])
def test_other_databases_are_refused(tmp_path, scheme):
    said = refusal(f"{scheme}://u:hunter2@127.0.0.1/x", tmp_path)
    assert f"the scheme '{scheme}' is not supported" in said


def test_a_file_that_is_no_database(tmp_path):
    (tmp_path / "x.db").write_bytes(b"no database" * 1000)
    said = refusal(f"sqlite:///{tmp_path}/x.db", tmp_path)
    assert said.endswith("cannot be used: the file is no SQLite database.")


def test_a_folder_that_is_not_there(tmp_path):
    said = refusal(f"sqlite:///{tmp_path}/nowhere/x.db", tmp_path)
    assert said.endswith("cannot be used: the file cannot be opened or made.")


def test_a_development_ca_beside_a_shared_ledger_is_refused_at_the_start(postgres, name, tmp_path):
    http_port, grpc_port = free_ports(2)
    server = ServerOptions(state_dir=tmp_path, http_port=http_port, grpc_port=grpc_port)
    settings = Settings(server=server, ledger=postgres.options(name))
    with pytest.raises(ConfigurationError) as caught:
        check_settings(settings)
    assert str(caught.value) == (
        "MINTMARK_PROVENANCE__CERTIFICATE_CHAIN_PATH must be set with a PostgreSQL ledger: "
        "replicas that each sign with a development CA of their own would not trust each other's "
        "pictures; with a single replica, set "
        "MINTMARK_PROVENANCE__ALLOW_DEVELOPMENT_CA_ON_POSTGRESQL=true."
    )
    assert not (tmp_path / "development-ca").exists()
    with pytest.raises(ConfigurationError, match="with a PostgreSQL ledger"):
        build_application(settings, Metrics("test"), open_access())
    alone = ProvenanceOptions(allow_development_ca_on_postgresql=True)
    check_settings(settings.model_copy(update={"provenance": alone}))
