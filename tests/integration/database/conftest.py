"""One PostgreSQL server for all tests here, and a user with a schema of its own for each."""

from __future__ import annotations

import pytest

from service.database.database import Database
from service.provenance.ledger import Ledger
from tests.postgres_kit import PostgresServer, running_postgres


@pytest.fixture(scope="session")
def postgres():
    with running_postgres() as server:
        yield server


@pytest.fixture
def name(postgres: PostgresServer) -> str:
    return postgres.create_user()


@pytest.fixture
def database(postgres, name, tmp_path):
    database = Database.open(postgres.options(name), tmp_path)
    yield database
    database.close()


@pytest.fixture
def ledger(database):
    return Ledger(database)
