"""What an operator can set about pictures that are answered by link."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

_BASE_URL = re.compile(r"https?://[A-Za-z0-9.\-:\[\]]+(/[A-Za-z0-9._~\-]+)*/?")
_DAY_S = 86_400


class StorageOptions(BaseModel):
    """Pictures answered by link, `response_format` "url" (`MINTMARK_STORAGE__…`).

    - `kind`: `none` refuses such requests; `folder` keeps the files here and serves them under
    signed links; `s3` hands them to a bucket and answers with its presigned links.
    - `retention_s`: how long a link works. The files of a folder are removed after it; those of a
    bucket by a lifecycle rule of the bucket, which is its owner's.
    - `folder`: None means `pictures` in the state directory.
    - `max_bytes`: what a folder holds before requests for links are refused.
    - `public_base_url`: what links to a folder begin with, such as "https://pictures.example.com";
    None means however the caller has addressed this server.
    - `link_key_path`: a file of at least 32 random bytes that links are signed with, the same for
    every replica; None means one in the state directory, made at the first start.
    - `s3_bucket`, `s3_prefix`, `s3_region`, `s3_endpoint_url`: where the bucket is. Credentials are
    found as the AWS SDK finds them: variables, files, roles.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["none", "folder", "s3"] = "none"
    retention_s: int = Field(default=3600, ge=60, le=7 * _DAY_S)
    folder: Path | None = None
    max_bytes: int = Field(default=1024**3, ge=1024**2)
    public_base_url: str | None = None
    link_key_path: Path | None = None
    s3_bucket: str | None = None
    s3_prefix: str = Field(default="mintmark/", pattern=r"^([A-Za-z0-9._\-]+/)*$", max_length=512)
    s3_region: str | None = None
    s3_endpoint_url: str | None = None

    @field_validator("public_base_url", "s3_endpoint_url")
    @classmethod
    def _is_base_url(cls, value: str | None) -> str | None:
        if value is not None and not _BASE_URL.fullmatch(value):
            raise ValueError("must be an http or https address without query, such as https://a.b")
        return None if value is None else value.rstrip("/")

    @model_validator(mode="after")
    def _has_bucket(self) -> Self:
        if (self.kind == "s3") != (self.s3_bucket is not None):
            raise ValueError("kind s3 and s3_bucket go together.")
        return self
