"""An SQLite ledger whose file is taken away while it is open: nothing more leaves unrecorded."""

from __future__ import annotations

import pytest

from service.errors import LedgerFailed
from service.provenance.ledger import Ledger
from tests.provenance_kit import make_record, open_ledger

RECORD = make_record()
NEXT = make_record(output_id="out_2", watermark_id=0xCAFE, manifest_id="urn:c2pa:2")


@pytest.fixture
def ledger(tmp_path):
    opened = open_ledger(tmp_path)
    opened.record(RECORD)
    yield opened
    opened.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.sqlite3"


def refuses(ledger: Ledger) -> None:
    with pytest.raises(LedgerFailed):
        ledger.record(NEXT)
    with pytest.raises(LedgerFailed):
        ledger.find_by_output(RECORD.output_id)


def test_a_ledger_whose_file_was_removed_records_nothing(ledger, path, tmp_path):
    path.unlink()
    refuses(ledger)
    refuses(ledger)
    assert not path.exists()


def test_another_file_at_its_path_is_not_used_in_its_place(ledger, path, tmp_path):
    path.rename(tmp_path / "away")
    path.write_bytes((tmp_path / "away").read_bytes())
    refuses(ledger)


def test_the_file_that_comes_back_is_used_again(ledger, path, tmp_path):
    path.rename(tmp_path / "away")
    refuses(ledger)
    (tmp_path / "away").rename(path)
    ledger.record(NEXT)
    assert ledger.find_by_output(NEXT.output_id) == NEXT


def test_after_a_restart_without_the_file_there_is_a_new_ledger(ledger, path, tmp_path):
    path.unlink()
    refuses(ledger)
    again = open_ledger(tmp_path)
    again.record(NEXT)
    assert again.find_by_output(RECORD.output_id) is None
    again.close()
