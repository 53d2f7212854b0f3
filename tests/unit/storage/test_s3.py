"""Pictures in a bucket, against one that checks every signature itself."""

from __future__ import annotations

import httpx
import pytest

from service.domain.request import OutputFormat
from service.errors import ConfigurationError, StorageFailed
from service.storage.options import StorageOptions
from service.storage.s3 import S3Storage
from tests.storage_kit import ACCESS_KEY, REGION, SECRET_KEY, serve_bucket, signed_image


@pytest.fixture
def bucket():
    with serve_bucket() as bucket:
        yield bucket


@pytest.fixture(autouse=True)
def credentials(monkeypatch, tmp_path):
    """Give the library credentials where it looks for them, and no others."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


def options(bucket, **changes):
    values = {
        "kind": "s3",
        "s3_bucket": "pictures",
        "s3_region": REGION,
        "s3_endpoint_url": bucket.url,
        **changes,
    }
    return StorageOptions(**values)


def test_what_was_stored_can_be_fetched_by_its_link_alone(bucket):
    storage = S3Storage(options(bucket), now=lambda: 1000.9)
    storage.refuse_if_full()
    place = storage.store(signed_image("out_a", b"content", OutputFormat.WEBP), "http://unused")
    assert place.url.startswith(f"{bucket.url}/pictures/mintmark/out_a.webp?")
    assert place.expires_at_s == 4600
    response = httpx.get(place.url)
    assert response.status_code == 200
    assert response.content == b"content"
    assert response.headers["content-type"] == "image/webp"
    ((key, (_, headers)),) = bucket.objects.items()
    assert key == "mintmark/out_a.webp"
    assert headers["content-disposition"] == 'inline; filename="out_a.webp"'
    assert httpx.get(place.url.replace("out_a", "out_b")).status_code == 403


def test_a_prefix_of_nothing_puts_pictures_at_the_top(bucket):
    S3Storage(options(bucket, s3_prefix="")).store(signed_image(), "")
    assert list(bucket.objects) == ["out_0.png"]


def test_a_bucket_that_refuses_is_a_typed_error(bucket, caplog):
    storage = S3Storage(options(bucket))
    bucket.refuses = True
    with pytest.raises(StorageFailed):
        storage.store(signed_image(), "")
    assert "AccessDenied" in caplog.text


def test_a_bucket_that_may_not_be_looked_at_is_used_all_the_same(bucket, caplog):
    bucket.refuses = True
    storage = S3Storage(options(bucket))
    bucket.refuses = False
    assert storage.store(signed_image(), "").url
    assert "could not be checked" in caplog.text


def test_a_bucket_that_is_not_there_stops_the_start(bucket):
    with pytest.raises(ConfigurationError, match="there is no bucket 'other'"):
        S3Storage(options(bucket, s3_bucket="other"))


def test_no_credentials_stop_the_start(bucket, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(ConfigurationError, match="credentials"):
        S3Storage(options(bucket))
