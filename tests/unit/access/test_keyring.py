"""Which header values name a caller, and how the file is followed."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import pytest

from service.access.keyring import KeyFile, KeyRing
from service.access.keys import digest, new_key, to_toml
from service.errors import ConfigurationError, Unauthenticated
from tests.access_kit import APP_KEY, OTHER_KEY, make_entry
from tests.factories import FakeClock


def ring(*entries, now=datetime(2026, 1, 1, tzinfo=UTC)):
    return KeyRing({entry.sha256: entry for entry in entries}, lambda: now)


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER   ", " Bearer "])
def test_a_known_key_names_its_caller(scheme):
    assert ring(make_entry()).authenticate(scheme + APP_KEY).name == "app"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        APP_KEY,
        f"Basic {APP_KEY}",
        f"Bearer {OTHER_KEY}",
        f"Bearer {APP_KEY}x",
        f"Bearer {APP_KEY[:-1]}",
        f"Bearer {APP_KEY} {APP_KEY}",
        "Bearer " + "x" * 100_000,
        "Bearer \udcff" + "x" * 50,
    ],
)
def test_anything_else_is_unauthenticated(header):
    with pytest.raises(Unauthenticated):
        ring(make_entry()).authenticate(header)


def test_a_short_key_never_counts_even_if_its_digest_is_stored():
    with pytest.raises(Unauthenticated):
        ring(make_entry("hunter2")).authenticate("Bearer hunter2")


def test_the_stored_digest_is_not_a_key():
    with pytest.raises(Unauthenticated):
        ring(make_entry()).authenticate(f"Bearer {digest(APP_KEY)}")


def test_a_key_ends_at_its_time():
    ends_at = datetime(2026, 1, 1, tzinfo=UTC)
    entry = make_entry(expires_at=ends_at)
    assert ring(entry, now=datetime(2025, 12, 31, tzinfo=UTC)).authenticate(f"Bearer {APP_KEY}")
    with pytest.raises(Unauthenticated, match="expired"):
        ring(entry, now=ends_at).authenticate(f"Bearer {APP_KEY}")


class Followed:
    """A key file that is followed, and a way to replace it."""

    def __init__(self, folder):
        self.path = folder / "keys.toml"
        self.clock = FakeClock()
        self.write(APP_KEY)
        self.keys = KeyFile(self.path, 5.0, clock=self.clock)

    def write(self, *keys):
        self.replace("\n".join(to_toml(make_entry(key)) for key in keys))

    def replace(self, text):
        fresh = self.path.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self.path)

    def knows(self, key):
        try:
            return self.keys.authenticate(f"Bearer {key}").name == "app"
        except Unauthenticated:
            return False


@pytest.fixture
def followed(tmp_path):
    return Followed(tmp_path)


def test_a_new_file_counts_after_at_most_the_interval(followed):
    fresh = new_key()
    followed.write(fresh)
    followed.clock.now_s += 4.9
    assert followed.knows(APP_KEY)
    followed.clock.now_s += 0.2
    assert followed.knows(fresh)
    assert not followed.knows(APP_KEY)


def test_two_keys_count_at_once_while_a_caller_changes_them(followed):
    fresh = new_key()
    followed.write(APP_KEY, fresh)
    followed.clock.now_s += 6
    assert followed.knows(APP_KEY)
    assert followed.knows(fresh)


@pytest.mark.parametrize("text", ["[[keys", "", '[[keys]]\nname = "app"\n'])
def test_a_broken_file_leaves_the_keys_and_is_logged_once(followed, text, caplog):
    followed.replace(text)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            followed.clock.now_s += 6
            assert followed.knows(APP_KEY)
    assert len(caplog.records) == 1
    assert "stay as they were" in caplog.text


def test_a_file_that_vanishes_leaves_the_keys_and_counts_when_it_is_back(followed, caplog):
    followed.path.unlink()
    with caplog.at_level(logging.ERROR):
        for _ in range(2):
            followed.clock.now_s += 6
            assert followed.knows(APP_KEY)
    assert len(caplog.records) == 1
    fresh = new_key()
    followed.write(fresh)
    followed.clock.now_s += 6
    assert followed.knows(fresh)


def test_a_symlink_that_is_swapped_is_followed(tmp_path):
    """As Kubernetes updates a mounted secret."""
    fresh = new_key()
    for name, key in (("one", APP_KEY), ("two", fresh)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "keys.toml").write_text(to_toml(make_entry(key)))
    link = tmp_path / "current"
    link.symlink_to("one")
    clock = FakeClock()
    keys = KeyFile(link / "keys.toml", 5.0, clock=clock)
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").replace(link)
    clock.now_s += 6
    assert keys.authenticate(f"Bearer {fresh}").name == "app"


def test_without_a_file_there_is_no_start(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read"):
        KeyFile(tmp_path / "missing.toml", 5.0)
