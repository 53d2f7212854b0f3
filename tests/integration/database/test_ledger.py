"""The ledger on PostgreSQL: the same as on SQLite, and whole again when the server is."""

from __future__ import annotations

import logging
import signal
import sqlite3
import threading
import time
from datetime import timedelta, timezone

import pytest

from service.database.database import Database
from service.database.options import LedgerOptions
from service.errors import LedgerFailed
from service.provenance.ledger import Ledger, WatermarkIdTaken
from tests.postgres_kit import PASSWORD
from tests.provenance_kit import make_record


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request, tmp_path):
    """Return a ledger of each kind in turn."""
    if request.param == "sqlite":
        options = LedgerOptions()
    else:
        server = request.getfixturevalue("postgres")
        options = server.options(request.getfixturevalue("name"))
    ledger = Ledger.open(options, tmp_path)
    yield ledger
    ledger.close()


def other(number: int, **overrides):
    unique = {"output_id": f"out_{number}", "manifest_id": f"urn:{number}", "watermark_id": number}
    return make_record(**{**unique, **overrides})


def test_an_output_is_found_by_each_of_its_ids_as_it_was_recorded(either):
    east = timezone(timedelta(hours=5))
    record = make_record(created_at=make_record().created_at.astimezone(east))
    either.record(record)
    assert either.find_by_output("out_1") == record
    assert either.find_by_manifest("urn:c2pa:1") == record
    (found,) = either.find_by_watermark(0xBEEF, "sst64")
    assert found.created_at.utcoffset() == timedelta(0)
    assert either.find_by_output("out_2") is None


def test_a_full_watermark_id_belongs_to_one_output_and_a_short_one_may_be_shared(either):
    either.record(make_record())
    with pytest.raises(WatermarkIdTaken):
        either.record(other(2, watermark_id=0xBEEF))
    short = [other(n, watermark_profile="sst32-small", watermark_id=7) for n in (3, 4)]
    for record in short:
        either.record(record)
    assert set(either.find_by_watermark(7, "sst32-small")) == set(short)


@pytest.mark.parametrize("same", ["output_id", "manifest_id"])
def test_an_id_of_another_output_is_a_failure(either, same):
    either.record(make_record())
    with pytest.raises(LedgerFailed):
        either.record(other(2, **{same: getattr(make_record(), same)}))


def test_recording_the_same_output_again_changes_nothing(either):
    for _ in range(2):
        either.record(make_record())
    assert either.find_by_watermark(0xBEEF, "sst64") == (make_record(),)


def test_of_many_who_draw_the_same_watermark_id_one_gets_it(either):
    endings = []

    def write(number: int) -> None:
        try:
            either.record(other(number, watermark_id=1))
            endings.append("recorded")
        except WatermarkIdTaken:
            endings.append("taken")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(endings) == ["recorded"] + ["taken"] * 7


def test_a_full_disk_of_an_sqlite_file_is_a_failure_and_the_records_stay(tmp_path):
    ledger = Ledger.open(LedgerOptions(), tmp_path)
    ledger.record(make_record())
    ledger.close()
    limited = Database.open(LedgerOptions(), tmp_path)
    with limited.reading() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count=1")  # of the pooled connection
    ledger = Ledger(limited)

    def fill() -> None:
        for number in range(2, 200):
            ledger.record(other(number))

    with pytest.raises(LedgerFailed):
        fill()
    assert ledger.find_by_output("out_1") == make_record()
    ledger.close()


def test_an_sqlite_file_that_another_process_holds_is_a_failure_within_bounds(tmp_path):
    database = Database.open(LedgerOptions(), tmp_path)
    with database.reading() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout=100")  # of the pooled connection
    ledger = Ledger(database)
    (path,) = tmp_path.glob("*.sqlite3")
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerFailed):
        ledger.record(make_record())
    assert ledger.find_by_output("out_1") is None  # reading does not wait for it
    holder.execute("ROLLBACK")
    holder.close()
    ledger.record(make_record())
    ledger.close()


# --- what happens to servers ----------------------------------------------------------------------


def test_a_session_that_the_server_ended_is_replaced(postgres, name, ledger):
    ledger.record(make_record())
    postgres.drop_sessions(name)
    ledger.record(other(2))
    postgres.drop_sessions(name)
    assert ledger.find_by_output("out_2") == other(2)


def test_a_connection_lost_in_the_middle_of_a_write_is_tried_once_more(postgres, name, database):
    sessions = []

    def work(connection):
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
        sessions.append(pid)
        if len(sessions) == 1:
            postgres.execute(f"SELECT pg_terminate_backend({pid}, 10000)")
        return connection.exec_driver_sql("SELECT 1").scalar()

    assert database.write(work) == 1
    assert len(set(sessions)) == 2


def test_a_connection_that_is_lost_every_time_is_a_failure(postgres, database):
    sessions = []

    def work(connection):
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
        sessions.append(pid)
        postgres.execute(f"SELECT pg_terminate_backend({pid}, 10000)")
        connection.exec_driver_sql("SELECT 1")

    with pytest.raises(LedgerFailed):
        database.write(work)
    assert len(sessions) == 2


def test_a_full_disk_is_a_failure_that_is_logged_by_its_code(postgres, name, ledger, caplog):
    postgres.execute(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = 'disk_full'; END$$",
        name,
    )
    postgres.execute(
        "CREATE TRIGGER full_disk BEFORE INSERT ON outputs EXECUTE FUNCTION full_disk()", name
    )
    with caplog.at_level(logging.ERROR), pytest.raises(LedgerFailed) as caught:
        ledger.record(make_record())
    assert "SQLSTATE 53100" in caplog.text
    assert PASSWORD not in caplog.text
    assert "space" not in caught.value.message
    postgres.execute("DROP TRIGGER full_disk ON outputs", name)
    ledger.record(make_record())


def test_a_server_that_has_become_a_standby_is_left_for_the_next_connection(postgres, name, ledger):
    ledger.record(make_record())
    postgres.execute(f"ALTER ROLE {name} SET default_transaction_read_only = on")
    postgres.drop_sessions(name)
    with pytest.raises(LedgerFailed):
        ledger.record(other(2))
    assert ledger.find_by_output("out_1") == make_record()
    # The pool's sessions would stay read-only for ever if they were kept.
    postgres.execute(f"ALTER ROLE {name} RESET default_transaction_read_only")
    ledger.record(other(2))


def test_a_statement_that_waits_too_long_is_ended(postgres, name, tmp_path):
    ledger = Ledger.open(postgres.options(name, statement_timeout_s=1), tmp_path)
    locked = threading.Event()
    done = threading.Event()

    def hold() -> None:
        import psycopg

        with psycopg.connect(postgres.url(name)) as connection:
            connection.execute("LOCK TABLE outputs IN ACCESS EXCLUSIVE MODE")
            locked.set()
            assert done.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    assert locked.wait(30)
    began_s = time.monotonic()
    with pytest.raises(LedgerFailed):
        ledger.record(make_record())
    assert time.monotonic() - began_s < 10
    done.set()
    holder.join()
    ledger.record(make_record())
    ledger.close()


def test_a_pool_without_a_free_connection_is_a_failure_within_bounds(postgres, name, tmp_path):
    options = postgres.options(name, pool_size=1, statement_timeout_s=1)
    database = Database.open(options, tmp_path)
    with database.reading(), pytest.raises(LedgerFailed):
        database.check()
    database.check()
    database.close()


def test_a_server_that_crashes_fails_requests_and_serves_again_after_its_restart(
    postgres, name, ledger
):
    ledger.record(make_record())
    postgres.stop(signal.SIGQUIT)
    began_s = time.monotonic()
    for attempt in (lambda: ledger.record(other(2)), lambda: ledger.find_by_output("out_1")):
        with pytest.raises(LedgerFailed):
            attempt()
    assert time.monotonic() - began_s < 20
    postgres.start()
    assert ledger.find_by_output("out_1") == make_record()
    assert ledger.find_by_output("out_2") is None
    ledger.record(other(2))
