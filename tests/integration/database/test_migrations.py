"""However a database came to be, it ends with this release's tables, or the start is refused."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from service.database.database import Database
from service.database.migrate import MIGRATIONS
from service.database.options import LedgerOptions
from service.database.schema import HEAD, REVISION_TABLE, REVISIONS, metadata
from service.database.upkeep import ledger_status, migrate_ledger
from service.errors import ConfigurationError
from service.provenance.ledger import Ledger
from tests.database_kit import unversioned_schema
from tests.provenance_kit import make_record


class Sqlite:
    """A database of either kind, as the tests below need it."""

    dialect = "sqlite"

    def __init__(self, folder) -> None:
        self.state_dir = folder
        self.options = LedgerOptions()
        self.path = folder / "ledger.sqlite3"
        self.sqlalchemy_url = f"sqlite:///{self.path}"

    def execute(self, statement):
        with closing(sqlite3.connect(self.path)) as connection, connection:
            return connection.execute(statement).fetchall()


class PostgreSql:
    dialect = "postgresql"

    def __init__(self, server, name, folder) -> None:
        self.state_dir = folder
        self.options = server.options(name)
        self.sqlalchemy_url = server.url(name).replace("postgresql:", "postgresql+psycopg:")
        self._server, self._name = server, name

    def execute(self, statement):
        return self._server.execute(statement, self._name)


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path):
    if request.param == "sqlite":
        return Sqlite(tmp_path)
    server, name = request.getfixturevalue("postgres"), request.getfixturevalue("name")
    return PostgreSql(server, name, tmp_path)


def differences(place):
    engine = create_engine(place.sqlalchemy_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": REVISION_TABLE, "compare_type": True}
        )
        found = compare_metadata(context, metadata)
    engine.dispose()
    return found


def revision(place):
    return place.execute(f"SELECT version_num FROM {REVISION_TABLE}")


def adopt(place):
    for statement in unversioned_schema(place.dialect):
        place.execute(statement)


def test_the_listed_revisions_are_those_of_the_folder_in_their_order():
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    scripts = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert tuple(reversed(scripts)) == REVISIONS


def test_an_empty_database_ends_with_exactly_the_tables_of_this_release(place):
    assert migrate_ledger(place.options, place.state_dir) == (None, HEAD)
    assert differences(place) == []
    assert revision(place) == [(HEAD,)]
    assert migrate_ledger(place.options, place.state_dir) == (HEAD, HEAD)


def test_the_ledger_of_the_first_release_is_adopted_without_loss(place):
    adopt(place)
    if place.dialect == "postgresql":
        place.execute("UPDATE outputs SET created_at = '2026-11-24 08:00:00.123456+00'")
    with closing(Ledger.open(place.options, place.state_dir)) as ledger:
        assert ledger.find_by_output("out_1") == make_record()
    assert differences(place) == []
    assert revision(place) == [(HEAD,)]


@pytest.mark.parametrize("statement", ["DELETE FROM schema_version", "DROP TABLE schema_version"])
def test_it_is_adopted_without_its_number_too(place, statement):
    adopt(place)
    place.execute(statement)
    Database.open(place.options, place.state_dir).close()
    assert differences(place) == []


def test_a_database_that_is_newer_than_the_release_is_refused_in_one_sentence(place):
    migrate_ledger(place.options, place.state_dir)
    place.execute(f"UPDATE {REVISION_TABLE} SET version_num = '0099'")
    with pytest.raises(ConfigurationError) as caught:
        Database.open(place.options, place.state_dir)
    assert str(caught.value) == (
        "MINTMARK_LEDGER__URL: the ledger's database has the schema revision 0099, which this "
        f"release, of {HEAD}, does not know: run the release that wrote it, or name another "
        "database."
    )
    assert revision(place) == [("0099",)]


def test_a_table_of_somebody_else_is_refused_and_left_alone(place):
    place.execute("CREATE TABLE outputs (id INTEGER)")
    with pytest.raises(ConfigurationError, match="'outputs' that no release of Mintmark has made"):
        Database.open(place.options, place.state_dir)
    assert place.execute("SELECT * FROM outputs") == []


def test_a_migration_that_fails_leaves_everything_as_it_was(place):
    adopt(place)
    place.execute("CREATE TABLE answers (id INTEGER)")  # in the way of the second revision
    with pytest.raises(ConfigurationError, match="cannot be used"):
        Database.open(place.options, place.state_dir)
    assert place.execute("SELECT version FROM schema_version") == [(1,)]
    place.execute("DROP TABLE answers")
    with closing(Ledger.open(place.options, place.state_dir)) as ledger:
        assert ledger.find_by_output("out_1") is not None


def test_who_must_not_migrate_refuses_an_old_database_and_serves_a_current_one(place):
    options = place.options.model_copy(update={"migrate_at_start": False})
    with pytest.raises(ConfigurationError, match="run `mintmark ledger migrate`"):
        Database.open(options, place.state_dir)
    migrate_ledger(place.options, place.state_dir)
    Database.open(options, place.state_dir).close()


def test_the_status_tells_what_there_is_and_makes_nothing(place):
    empty = ledger_status(place.options, place.state_dir)
    assert (empty.revision, empty.outputs, empty.is_current) == (None, 0, False)
    assert "hunter2" not in empty.shown
    assert list(place.state_dir.iterdir()) == []
    adopt(place)
    old = ledger_status(place.options, place.state_dir)
    assert (old.revision, old.outputs, old.is_current) == ("0001", 1, False)
    assert place.execute("SELECT version FROM schema_version") == [(1,)]
    migrate_ledger(place.options, place.state_dir)
    assert ledger_status(place.options, place.state_dir).is_current


_START = """
import sys
from pathlib import Path
from pydantic import SecretStr
from service.database.migrate import migrate
from service.database.database import opened_engine
from service.database.options import LedgerOptions
url = SecretStr(sys.argv[1]) if sys.argv[1] else None
with opened_engine(LedgerOptions(url=url, connect_timeout_s=30), Path(sys.argv[2])) as engine:
    print("loaded", flush=True)
    sys.stdin.readline()
    print(migrate(engine), flush=True)
"""


def test_processes_that_start_together_migrate_once(place):
    url = "" if place.options.url is None else place.options.url.get_secret_value()
    arguments = [sys.executable, "-c", _START, url, str(place.state_dir)]
    pipe = subprocess.PIPE
    starts = [
        subprocess.Popen(arguments, stdin=pipe, stdout=pipe, text=True, bufsize=1) for _ in range(3)
    ]
    for start in starts:
        assert start.stdout is not None
        assert start.stdout.readline() == "loaded\n"
    said = []
    for start in starts:
        assert start.stdin is not None
        start.stdin.write("go\n")  # line-buffered: it leaves at once
    for start in starts:
        said.append(start.communicate(timeout=60)[0])
        assert start.returncode == 0
    assert set(said) <= {f"(None, '{HEAD}')\n", f"('{HEAD}', '{HEAD}')\n"}
    assert said.count(f"(None, '{HEAD}')\n") == 1
    assert differences(place) == []
