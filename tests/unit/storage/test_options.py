"""The storage's settings, and the storage that they make."""

from __future__ import annotations

import sys
from contextlib import ExitStack

import pytest
from pydantic import ValidationError

from service.errors import ConfigurationError
from service.storage.build import build_storage
from service.storage.folder import FolderStorage
from service.storage.options import StorageOptions
from tests.storage_kit import signed_image


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "s3"},
        {"kind": "folder", "s3_bucket": "b"},
        {"kind": "disk"},
        {"retention_s": 59},
        {"retention_s": 7 * 86_400 + 1},
        {"public_base_url": "ftp://a.b"},
        {"public_base_url": "https://a.b/?x=1"},
        {"public_base_url": "https://user:word@a.b"},
        {"public_base_url": "pictures.example.com"},
        {"s3_prefix": "/absolute/"},
        {"s3_prefix": "no-slash-at-the-end"},
        {"folders": "x"},
    ],
)
def test_what_cannot_be_meant_is_refused(options):
    with pytest.raises(ValidationError):
        StorageOptions(**options)


def test_addresses_lose_their_last_slash():
    assert StorageOptions(public_base_url="https://a.b:8443/x/").public_base_url == (
        "https://a.b:8443/x"
    )


def test_none_is_made_unless_asked_for(tmp_path):
    with ExitStack() as stack:
        assert build_storage(StorageOptions(), tmp_path, stack) is None
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_made_in_the_state_folder_with_its_key(tmp_path):
    with ExitStack() as stack:
        storage = build_storage(StorageOptions(kind="folder"), tmp_path, stack)
        assert storage is not None
        assert isinstance(storage.files, FolderStorage)
        url = storage.pool.submit(storage.pictures.store, signed_image(), "http://a").result().url
    assert url.startswith("http://a/v1/images/files/out_0.png?")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["picture-link.key", "pictures"]
    assert (tmp_path / "pictures" / "out_0.png").read_bytes() == signed_image().content


def test_a_bucket_without_the_extra_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)
    monkeypatch.delitem(sys.modules, "service.storage.s3", raising=False)
    with ExitStack() as stack, pytest.raises(ConfigurationError, match=r"mintmark\[s3\]"):
        build_storage(StorageOptions(kind="s3", s3_bucket="b"), tmp_path, stack)
