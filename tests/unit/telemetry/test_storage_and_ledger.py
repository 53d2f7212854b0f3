"""Storing by link and writing the ledger are counted and timed, failures included."""

from __future__ import annotations

import threading

import pytest

from service.errors import LedgerFailed, StorageFailed, StorageFull
from service.telemetry.ledger import TimedRecorder
from service.telemetry.metrics import Metrics
from service.telemetry.storage import CountedStorage
from tests.factories import FakeClock
from tests.storage_kit import signed_image


@pytest.fixture
def metrics():
    return Metrics("test")


@pytest.fixture
def clock():
    return FakeClock()


def value(metrics, series):
    lines = metrics.exposition().decode().splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(series)), None)


class Shelf:
    """A storage that takes a second per picture, and is full or broken when told."""

    def __init__(self, clock: FakeClock) -> None:
        self.error: Exception | None = None
        self._clock = clock

    def refuse_if_full(self) -> None:
        if self.error is not None:
            raise self.error

    def store(self, image, base_url):
        self._clock.now_s += 1
        if self.error is not None:
            raise self.error
        return f"{base_url}/{image.output_id}"


def test_stored_pictures_are_counted_with_their_bytes_and_seconds(metrics, clock):
    storage = CountedStorage(Shelf(clock), metrics, "folder", clock)
    assert storage.store(signed_image("out_7"), "https://a.b") == "https://a.b/out_7"
    storage.store(signed_image(content=b"x" * 100), "https://a.b")
    stored = value(metrics, 'mintmark_stored_pictures_total{outcome="stored",storage="folder"}')
    assert stored == 2
    assert value(metrics, 'mintmark_stored_bytes_total{storage="folder"}') == 109
    assert value(metrics, 'mintmark_store_seconds_sum{storage="folder"}') == 2


def test_a_picture_that_could_not_be_stored_counts_as_failed(metrics, clock):
    shelf = Shelf(clock)
    storage = CountedStorage(shelf, metrics, "s3", clock)
    shelf.error = StorageFailed("No.")
    with pytest.raises(StorageFailed):
        storage.store(signed_image(), "")
    failed = value(metrics, 'mintmark_stored_pictures_total{outcome="failed",storage="s3"}')
    assert failed == 1
    assert value(metrics, 'mintmark_stored_bytes_total{storage="s3"}') is None
    assert value(metrics, 'mintmark_store_seconds_count{storage="s3"}') == 1


def test_a_full_storage_is_a_refusal(metrics, clock):
    shelf = Shelf(clock)
    storage = CountedStorage(shelf, metrics, "folder", clock)
    storage.refuse_if_full()
    shelf.error = StorageFull("Full.")
    with pytest.raises(StorageFull):
        storage.refuse_if_full()
    assert value(metrics, 'mintmark_admission_refusals_total{reason="storage_full"}') == 1


class Book:
    """A ledger whose writes wait until they may go on."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.may_write = threading.Event()
        self.may_write.set()
        self.begun = threading.Semaphore(0)
        self.records: list[str] = []

    def record(self, output: str) -> None:
        self.begun.release()
        assert self.may_write.wait(10)
        if self.error is not None:
            raise self.error
        self.records.append(output)


def test_a_record_is_written_before_it_returns_so_nothing_lags(metrics, clock):
    book = Book()
    ledger = TimedRecorder(book, metrics, clock)
    assert value(metrics, "mintmark_ledger_lag_seconds") == 0
    ledger.record("one")
    assert book.records == ["one"]
    assert value(metrics, "mintmark_ledger_lag_seconds") == 0
    assert value(metrics, "mintmark_ledger_write_seconds_count") == 1


def test_the_lag_is_the_age_of_the_oldest_write_under_way(metrics, clock):
    book = Book()
    ledger = TimedRecorder(book, metrics, clock)
    book.may_write.clear()
    threads = [threading.Thread(target=ledger.record, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
        assert book.begun.acquire(timeout=10)
        clock.now_s += 3
    assert value(metrics, "mintmark_ledger_lag_seconds") == 6
    book.may_write.set()
    for thread in threads:
        thread.join(10)
    assert value(metrics, "mintmark_ledger_lag_seconds") == 0
    assert value(metrics, "mintmark_ledger_write_seconds_sum") == 9


def test_a_failed_write_is_timed_and_lags_no_longer(metrics, clock):
    book = Book()
    book.error = LedgerFailed("No.")
    with pytest.raises(LedgerFailed):
        TimedRecorder(book, metrics, clock).record("one")
    assert value(metrics, "mintmark_ledger_write_seconds_count") == 1
    assert value(metrics, "mintmark_ledger_lag_seconds") == 0
