"""Pictures in an S3 bucket, answered by the bucket's own presigned links. Needs the extra `s3`."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from service.errors import ConfigurationError, StorageFailed
from service.storage.interface import StoredPicture

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.domain.result import SignedImage
    from service.storage.options import StorageOptions

logger = logging.getLogger(__name__)

_NO_SUCH_BUCKET = "404"


class S3Storage:
    """Keeps pictures as objects. `now`: Unix seconds.

    A presigned link made from a role's session ends with the session, if that is earlier.
    """

    def __init__(self, options: StorageOptions, now: Callable[[], float] = time.time) -> None:
        """Raises ConfigurationError if there are no credentials or no such bucket."""
        self._options = options
        self._now = now
        # Path style, because the name of a bucket is a host's name only at AWS itself.
        style = "auto" if options.s3_endpoint_url is None else "path"
        config = Config(
            signature_version="s3v4",
            connect_timeout=5,
            read_timeout=30,
            retries={"max_attempts": 3, "mode": "standard"},
            s3={"addressing_style": style},
        )
        try:
            self._client: Any = boto3.session.Session().client(
                "s3",
                region_name=options.s3_region,
                endpoint_url=options.s3_endpoint_url,
                config=config,
            )
            self._check_bucket()
        except (BotoCoreError, ValueError) as exc:
            raise ConfigurationError(f"MINTMARK_STORAGE__KIND=s3 cannot be used: {exc}") from exc

    def refuse_if_full(self) -> None:
        """Do nothing: a bucket has no end."""

    def store(self, image: SignedImage, base_url: str) -> StoredPicture:  # noqa: ARG002 - not ours
        """Upload one picture and return its presigned link; raises StorageFailed."""
        name = f"{image.output_id}.{image.format.value}"
        place = {
            "Bucket": self._options.s3_bucket,
            "Key": f"{self._options.s3_prefix}{name}",
        }
        retention_s = self._options.retention_s
        # Counted from before the signing, so that the link is never said to work for longer.
        expires_at_s = int(self._now()) + retention_s
        try:
            self._client.put_object(
                **place,
                Body=image.content,
                ContentType=image.format.mime_type,
                ContentDisposition=f'inline; filename="{name}"',
                CacheControl=f"private, max-age={retention_s}",
            )
            url = self._client.generate_presigned_url(
                "get_object", Params=place, ExpiresIn=retention_s
            )
        except (BotoCoreError, ClientError) as exc:
            logger.exception("a picture could not be stored")
            raise StorageFailed("The picture could not be stored.") from exc
        return StoredPicture(url, expires_at_s)

    def _check_bucket(self) -> None:
        bucket = self._options.s3_bucket
        try:
            self._client.head_bucket(Bucket=bucket)
        except ClientError as exc:
            if exc.response["Error"]["Code"] == _NO_SUCH_BUCKET:
                raise ConfigurationError(
                    f"MINTMARK_STORAGE__S3_BUCKET: there is no bucket {bucket!r}."
                ) from exc
            # Whoever may only write objects may not ask for the bucket; that is enough for us.
            logger.warning("the bucket could not be checked: %s", exc)
