"""`mintmark ledger` says what there is, and changes it only when it is told to."""

from __future__ import annotations

import sqlite3

import pytest
from click.testing import CliRunner

from service.cli.main import cli
from service.database.schema import HEAD
from service.errors import ConfigurationError
from tests.database_kit import unversioned_schema


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("MINTMARK_SERVER__STATE_DIR", str(tmp_path))
    return lambda *words: CliRunner().invoke(cli, ["ledger", *words])


def test_without_a_ledger_the_status_says_so_and_makes_none(run, tmp_path):
    result = run("status")
    assert result.exit_code == 1
    assert f"revision  none (this release: {HEAD})" in result.output
    assert "mintmark ledger migrate" in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_ledger_is_made_and_then_left_as_it_is(run, tmp_path):
    assert run("migrate").output == f"The ledger went from revision none to {HEAD}.\n"
    assert run("migrate").output == f"The ledger has revision {HEAD} already.\n"
    result = run("status")
    assert result.exit_code == 0
    assert f"database  {tmp_path}/ledger.sqlite3" in result.output
    assert "outputs   0" in result.output


def test_an_old_ledger_is_told_and_migrated(run, tmp_path):
    connection = sqlite3.connect(tmp_path / "ledger.sqlite3")
    for statement in unversioned_schema("sqlite"):
        connection.execute(statement)
    connection.commit()
    connection.close()
    result = run("status")
    assert (result.exit_code, "revision  0001" in result.output) == (1, True)
    assert "outputs   1" in result.output
    assert run("migrate").output == f"The ledger went from revision 0001 to {HEAD}.\n"
    assert run("status").exit_code == 0


def test_a_database_that_cannot_be_used_is_one_sentence(run, monkeypatch):
    monkeypatch.setenv("MINTMARK_LEDGER__URL", "postgresql://u:hunter2@127.0.0.1:1/x")
    for word in ("status", "migrate"):
        error = run(word).exception
        assert isinstance(error, ConfigurationError)
        assert "nobody listens there" in str(error)
        assert "hunter2" not in str(error)
