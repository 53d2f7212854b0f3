"""Pictures in a folder: whole or not at all, for as long as said, and no more than fits."""

from __future__ import annotations

import inspect
import os
import time
from urllib.parse import parse_qs, urlsplit

import pytest

from service.domain.request import OutputFormat
from service.errors import ConfigurationError, StorageFailed, StorageFull
from service.storage.folder import FolderStorage, picture_sweeper
from service.storage.links import LinkSigner
from service.storage.s3 import S3Storage
from tests.storage_kit import KEY, WallClock, folder_storage, signed_image

BASE = "http://mintmark.test"


def read(storage, url):
    parts = urlsplit(url)
    query = {name: value for name, (value,) in parse_qs(parts.query).items()}
    return storage.read(parts.path.rpartition("/")[2], query["expires"], query["signature"])


@pytest.mark.parametrize("fmt", list(OutputFormat))
def test_what_was_stored_can_be_read_by_its_link(tmp_path, fmt):
    clock = WallClock()
    storage = folder_storage(tmp_path / "pictures", clock)
    place = storage.store(signed_image("out_a", b"content", fmt), BASE)
    assert place.url.startswith(f"{BASE}/v1/images/files/out_a.{fmt.value}?")
    assert place.expires_at_s == 1_800_000_001 + 3600
    file = read(storage, place.url)
    assert file is not None
    assert (file.content, file.format, file.name) == (b"content", fmt, f"out_a.{fmt.value}")
    assert file.remaining_s == 3600


def test_links_begin_with_the_configured_address(tmp_path):
    storage = folder_storage(tmp_path, public_base_url="https://pictures.example.com/x/")
    assert storage.store(signed_image(), BASE).url.startswith(
        "https://pictures.example.com/x/v1/images/files/out_0.png?"
    )


def test_only_the_owner_can_look_into_the_folder(tmp_path):
    storage = folder_storage(tmp_path / "pictures")
    storage.store(signed_image(), BASE)
    assert (tmp_path / "pictures").stat().st_mode & 0o777 == 0o700
    (path,) = (tmp_path / "pictures").iterdir()  # no draft is left
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_link_ends_before_the_sweep_comes(tmp_path):
    clock = WallClock()
    storage = folder_storage(tmp_path, clock)
    place = storage.store(signed_image(), BASE)
    clock.now_s = place.expires_at_s - 0.5
    assert read(storage, place.url) is not None
    clock.now_s = place.expires_at_s
    assert read(storage, place.url) is None
    assert list(tmp_path.iterdir())


def test_the_sweep_removes_what_has_ended_and_nothing_else(tmp_path):
    clock = WallClock()
    storage = folder_storage(tmp_path, clock)
    storage.store(signed_image("out_old", b"12345"), BASE)
    clock.now_s += 1800
    young = storage.store(signed_image("out_new", b"123"), BASE)
    assert storage.held_bytes == 8
    assert storage.sweep() == 0
    clock.now_s += 1802
    assert storage.sweep() == 1
    assert storage.held_bytes == 3
    assert [path.name for path in tmp_path.iterdir()] == ["out_new.png"]
    assert read(storage, young.url) is not None


def test_one_sweep_is_bounded(tmp_path):
    clock = WallClock()
    storage = folder_storage(tmp_path, clock)
    for number in range(5):
        storage.store(signed_image(f"out_{number}"), BASE)
    clock.now_s += 4000
    assert [storage.sweep(2), storage.sweep(2), storage.sweep(2)] == [2, 2, 1]


def test_a_picture_that_is_gone_is_not_found(tmp_path):
    storage = folder_storage(tmp_path)
    place = storage.store(signed_image(), BASE)
    (tmp_path / "out_0.png").unlink()
    assert read(storage, place.url) is None


def test_a_full_folder_lets_no_new_request_in_until_something_has_ended(tmp_path):
    clock = WallClock()
    storage = folder_storage(tmp_path, clock, max_bytes=1024**2)
    storage.refuse_if_full()
    storage.store(signed_image("out_a", b"x" * 1024**2), BASE)
    with pytest.raises(StorageFull) as full:
        storage.refuse_if_full()
    assert full.value.retry_after_s == 60
    clock.now_s += 3590
    with pytest.raises(StorageFull) as full:
        storage.refuse_if_full()
    assert full.value.retry_after_s == pytest.approx(10.75)
    # A request that was let in before is not left without its pictures.
    storage.store(signed_image("out_b"), BASE)
    clock.now_s += 20
    storage.sweep()
    storage.refuse_if_full()


def test_after_a_restart_everything_is_known_again(tmp_path):
    clock = WallClock()
    place = folder_storage(tmp_path, clock).store(signed_image("out_a", b"12345"), BASE)
    (tmp_path / ".out_b.png.0123456789abcdef").write_bytes(b"draft")  # of a crash
    os.utime(tmp_path / ".out_b.png.0123456789abcdef", (clock.now_s, clock.now_s))
    (tmp_path / "notes.txt").write_text("not ours")
    storage = folder_storage(tmp_path, clock)
    assert storage.held_bytes == 10
    assert read(storage, place.url) is not None
    clock.now_s += 3602
    assert storage.sweep() == 2
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    "name", ["../secret.png", "..", ".", "", "a/b.png", "x.txt", ".a.png", "a.png\n"]
)
def test_a_signed_link_out_of_the_folder_leads_nowhere(tmp_path, name):
    (tmp_path / "secret.png").write_bytes(b"secret")
    storage = folder_storage(tmp_path / "pictures")
    query = LinkSigner(KEY).path(name, 1_900_000_000).rpartition("?")[2]
    expires, signature = (part.partition("=")[2] for part in query.split("&"))
    assert storage.read(name, expires, signature) is None


def test_a_disk_that_fails_is_an_error_and_leaves_nothing(tmp_path, caplog):
    storage = folder_storage(tmp_path / "pictures")
    (tmp_path / "pictures").rmdir()
    with pytest.raises(StorageFailed):
        storage.store(signed_image(), BASE)
    assert storage.held_bytes == 0
    assert "could not be stored" in caplog.text


def test_a_name_that_is_no_file_name_is_refused(tmp_path):
    with pytest.raises(StorageFailed):
        folder_storage(tmp_path).store(signed_image("../out"), BASE)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_used_stops_the_start(tmp_path):
    (tmp_path / "pictures").write_text("a file")
    with pytest.raises(ConfigurationError, match="MINTMARK_STORAGE__FOLDER"):
        folder_storage(tmp_path / "pictures")


def test_the_sweeper_works_while_nobody_stores(tmp_path):
    clock = WallClock()
    storage = folder_storage(tmp_path, clock)
    storage.store(signed_image(), BASE)
    clock.now_s += 4000
    sweeper = picture_sweeper(storage, interval_s=0.01)
    sweeper.start()
    ends_at_s = time.monotonic() + 10
    while storage.held_bytes and time.monotonic() < ends_at_s:
        time.sleep(0.01)
    sweeper.stop()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("storage", [FolderStorage, S3Storage])
def test_nothing_but_a_signed_picture_can_be_stored(storage):
    parameters = list(inspect.signature(storage.store).parameters.values())
    assert [parameter.annotation for parameter in parameters[1:]] == ["SignedImage", "str"]
    public = {name for name in vars(storage) if not name.startswith("_")}
    assert public <= {"store", "refuse_if_full", "read", "sweep", "held_bytes"}
