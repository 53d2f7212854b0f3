"""Links to stored pictures, and the key that they are signed with."""

from __future__ import annotations

import pytest

from service.errors import ConfigurationError
from service.storage.links import LinkSigner, load_link_key
from tests.storage_kit import KEY


def parts_of(path):
    place, _, query = path.partition("?")
    expires, _, signature = query.removeprefix("expires=").partition("&signature=")
    return place.rpartition("/")[2], expires, signature


def test_our_own_link_says_when_it_ends():
    links = LinkSigner(KEY)
    path = links.path("out_1.png", 1_800_000_000)
    assert path.startswith("/v1/images/files/out_1.png?")
    assert links.expiry(*parts_of(path)) == 1_800_000_000


def test_the_same_link_is_made_by_every_replica_with_the_key():
    assert LinkSigner(KEY).path("a.png", 5) == LinkSigner(KEY).path("a.png", 5)
    assert LinkSigner(KEY).path("a.png", 5) != LinkSigner(b"x" * 32).path("a.png", 5)


@pytest.mark.parametrize(
    "change",
    [
        lambda name, expires, signature: ("out_2.png", expires, signature),
        lambda name, expires, signature: (name, str(int(expires) + 1), signature),
        lambda name, expires, signature: (name, "0" + expires, signature),
        lambda name, expires, signature: (name, expires + " ", signature),
        lambda name, expires, signature: (name + "\n" + expires, "", signature),
        lambda name, expires, signature: (name, expires, signature[:-1]),
        lambda name, expires, signature: (name, expires, signature.upper()),
        lambda name, expires, signature: (name, expires, ""),
        lambda name, expires, signature: (name, expires, "\udc00é"),
        lambda name, expires, signature: ("", "", ""),
    ],
)
def test_any_other_link_is_nobodys(change):
    links = LinkSigner(KEY)
    parts = parts_of(links.path("out_1.png", 1_800_000_000))
    assert links.expiry(*change(*parts)) is None


def test_the_key_is_made_once_and_for_its_owner_only(tmp_path):
    first = load_link_key(None, tmp_path / "state")
    assert load_link_key(None, tmp_path / "state") == first
    assert len(first) >= 32
    (path,) = (tmp_path / "state").iterdir()  # no draft is left
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_mounted_key_is_used_and_none_is_made(tmp_path):
    mounted = tmp_path / "key"
    mounted.write_bytes(b"s" * 40 + b"\n")
    assert load_link_key(mounted, tmp_path / "state") == b"s" * 40
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("content", [None, b"", b"short", b" " * 64])
def test_a_key_that_is_none_stops_the_start(tmp_path, content):
    mounted = tmp_path / "key"
    if content is not None:
        mounted.write_bytes(content)
    with pytest.raises(ConfigurationError, match="picture links"):
        load_link_key(mounted, tmp_path)


def test_a_state_folder_that_cannot_be_written_stops_the_start(tmp_path):
    (tmp_path / "state").write_text("a file")
    with pytest.raises(ConfigurationError, match="cannot be read or made"):
        load_link_key(None, tmp_path / "state")
