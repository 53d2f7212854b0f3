"""A database is spoken of without its password, whatever the URL looks like."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from service.database.address import read_address
from service.database.options import LedgerOptions


def address(url, tmp_path):
    options = LedgerOptions(url=None if url is None else SecretStr(url))
    return read_address(options, tmp_path)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:hunter2@db.example:5433/x", "postgresql://u@db.example:5433/x"),
        ("postgres://u:hunter2@db/x?sslmode=require", "postgresql://u@db/x"),
        ("postgresql://db/x?password=hunter2", "postgresql://db/x"),
        ("postgresql:///x?host=/run/postgresql", "postgresql:///x"),
        ("postgresql://u:%2F%40hunter2@db/x", "postgresql://u@db/x"),
        ("sqlite:////var/x.db", "/var/x.db"),
        ("sqlite+pysqlite:///x.db", "x.db"),
    ],
)
def test_it_is_shown_without_password_and_parameters(url, shown, tmp_path):
    assert address(url, tmp_path).shown == shown


def test_the_default_is_a_file_in_the_state_folder(tmp_path):
    found = address(None, tmp_path)
    assert (found.is_postgresql, found.shown) == (False, f"{tmp_path}/ledger.sqlite3")


def test_the_options_do_not_show_the_url():
    options = LedgerOptions(url=SecretStr("postgresql://user:hunter2@host/x"))
    assert "hunter2" not in repr(options)
    assert "hunter2" not in options.model_dump_json()
