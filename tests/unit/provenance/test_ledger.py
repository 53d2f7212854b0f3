"""The ledger keeps what identifies an output, never twice under one full watermark id."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from dataclasses import fields
from datetime import timedelta, timezone

import pytest
from pydantic import SecretStr, ValidationError

from service.database.options import LedgerOptions
from service.errors import ConfigurationError, LedgerFailed
from service.provenance.ledger import Ledger, WatermarkIdTaken
from tests.provenance_kit import make_record, open_ledger


@pytest.fixture
def ledger(tmp_path):
    ledger = open_ledger(tmp_path)
    yield ledger
    ledger.close()


def database(tmp_path) -> sqlite3.Connection:
    (path,) = tmp_path.glob("*.sqlite3")
    return sqlite3.connect(path)


def test_an_output_is_found_by_each_of_its_ids(ledger):
    record = make_record()
    ledger.record(record)
    assert ledger.find_by_output("out_1") == record
    assert ledger.find_by_manifest("urn:c2pa:1") == record
    assert ledger.find_by_watermark(0xBEEF, "sst64") == (record,)


def test_what_was_not_recorded_is_not_found(ledger):
    ledger.record(make_record())
    assert ledger.find_by_output("out_2") is None
    assert ledger.find_by_manifest("urn:c2pa:2") is None
    assert ledger.find_by_watermark(0xBEEF, "sst32-small") == ()
    assert ledger.find_by_watermark(1, "sst64") == ()


def test_a_full_watermark_id_belongs_to_one_output(ledger):
    ledger.record(make_record())
    with pytest.raises(WatermarkIdTaken):
        ledger.record(make_record(output_id="out_2", manifest_id="urn:c2pa:2"))
    assert ledger.find_by_output("out_2") is None


def test_a_short_watermark_id_may_be_shared(ledger):
    first = make_record(watermark_profile="sst32-small")
    second = make_record(
        output_id="out_2",
        manifest_id="urn:c2pa:2",
        watermark_profile="sst32-small",
        created_at=first.created_at + timedelta(seconds=1),
    )
    ledger.record(first)
    ledger.record(second)
    ledger.record(make_record(output_id="out_3", manifest_id="urn:c2pa:3"))
    assert ledger.find_by_watermark(0xBEEF, "sst32-small") == (second, first)


@pytest.mark.parametrize("same", ["output_id", "manifest_id"])
def test_other_duplicates_are_failures(ledger, same):
    ledger.record(make_record())
    other = {"output_id": "out_2", "manifest_id": "urn:c2pa:2", "watermark_id": 5}
    other.pop(same)
    with pytest.raises(LedgerFailed):
        ledger.record(make_record(**other))


def test_times_come_back_in_utc(ledger):
    east = timezone(timedelta(hours=5))
    record = make_record(created_at=make_record().created_at.astimezone(east))
    ledger.record(record)
    found = ledger.find_by_output("out_1")
    assert found.created_at == record.created_at
    assert found.created_at.utcoffset() == timedelta(0)


def test_records_outlive_the_process(tmp_path):
    ledger = open_ledger(tmp_path)
    ledger.record(make_record())
    ledger.close()
    again = open_ledger(tmp_path)
    assert again.find_by_output("out_1") == make_record()
    again.close()


def test_no_column_could_hold_a_prompt(ledger, tmp_path):
    connection = database(tmp_path)
    columns = {row[1] for row in connection.execute("PRAGMA table_info(outputs)")}
    connection.close()
    assert columns == {field.name for field in fields(make_record())}
    assert not any("prompt" in column for column in columns)


def test_sqlite_writes_ahead(ledger, tmp_path):
    connection = database(tmp_path)
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    connection.close()
    assert mode == "wal"


def test_threads_record_side_by_side(ledger):
    problems = []

    def write(start: int) -> None:
        try:
            for index in range(start, start + 20):
                ledger.record(
                    make_record(
                        output_id=f"out_{index}", manifest_id=f"urn:{index}", watermark_id=index
                    )
                )
        except LedgerFailed as error:
            problems.append(error)

    threads = [threading.Thread(target=write, args=(100 * number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert all(ledger.find_by_output(f"out_{100 * n + i}") for n in range(1, 9) for i in range(20))


def test_several_processes_may_open_a_new_database_at_once(tmp_path):
    opened, problems = [], []
    barrier = threading.Barrier(6)

    def start() -> None:
        barrier.wait()
        try:
            opened.append(open_ledger(tmp_path))
        except ConfigurationError as error:
            problems.append(error)

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for ledger in opened:
        ledger.close()
    assert not problems
    assert len(opened) == 6


def test_a_database_of_a_newer_release_stops_the_start(ledger, tmp_path):
    connection = database(tmp_path)
    connection.execute("UPDATE ledger_revision SET version_num = '9999'")
    connection.commit()
    connection.close()
    with pytest.raises(ConfigurationError, match="schema revision 9999"):
        open_ledger(tmp_path)


def test_a_database_that_fails_fails_the_request(ledger, tmp_path):
    connection = database(tmp_path)
    connection.execute("DROP TABLE outputs")
    connection.close()
    attempts: tuple[Callable[[], object], ...] = (
        lambda: ledger.record(make_record()),
        lambda: ledger.find_by_output("out_1"),
        lambda: ledger.find_by_watermark(1, "sst64"),
    )
    for attempt in attempts:
        with pytest.raises(LedgerFailed) as caught:
            attempt()
        assert "outputs" not in caught.value.message


def test_the_check_needs_only_an_answer(ledger):
    ledger.check()


def test_any_database_url_is_taken_as_it_is(tmp_path):
    url = SecretStr(f"sqlite:///{tmp_path}/elsewhere.db")
    ledger = Ledger.open(LedgerOptions(url=url), tmp_path / "state")
    ledger.record(make_record())
    ledger.close()
    assert (tmp_path / "elsewhere.db").exists()
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    "url",
    [
        "not a url",
        "nosuchdialect://user:hunter2@host/x",
        "postgresql://user:hunter2@host@db/x",
        "postgresql://user:hunter2@host:54x2/x",
        "postgresql://user:hunter2@host",
        "sqlite://",
        "sqlite:////nonexistent/ledger.db",
    ],
)
def test_an_unusable_url_stops_the_start_without_showing_it(tmp_path, url):
    with pytest.raises(ConfigurationError) as caught:
        Ledger.open(LedgerOptions(url=SecretStr(url)), tmp_path)
    assert "MINTMARK_LEDGER__URL" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_options_do_not_show_the_url():
    options = LedgerOptions(url=SecretStr("postgresql://user:hunter2@host/x"))
    assert "hunter2" not in repr(options)


def test_options_reject_unknown_fields():
    with pytest.raises(ValidationError):
        LedgerOptions.model_validate({"uri": "x"})
