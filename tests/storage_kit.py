"""Pictures to store, storages to store them in, and a bucket that checks its signatures."""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from service.domain.identity import OutputId
from service.domain.request import OutputFormat
from service.domain.result import SignedImage
from service.storage.folder import FolderStorage
from service.storage.interface import PictureFiles, PictureStorage, Storage
from service.storage.links import LinkSigner
from service.storage.options import StorageOptions

KEY = b"k" * 32


def signed_image(
    output_id: str = "out_0", content: bytes = b"\x89PNG fake", fmt: OutputFormat = OutputFormat.PNG
) -> SignedImage:
    return SignedImage(
        output_id=OutputId(output_id),
        content=content,
        format=fmt,
        width_px=64,
        height_px=64,
        seed=7,
        pixels_sha256="0" * 64,
        content_sha256=hashlib.sha256(content).hexdigest(),
        watermark_id=1,
        watermark_profile="sst64",
        manifest_id="urn:c2pa:0",
        created_at=datetime(2026, 11, 24, tzinfo=UTC),
    )


@dataclass
class WallClock:
    now_s: float = 1_800_000_000.25

    def __call__(self) -> float:
        return self.now_s


def folder_storage(folder: Path, clock: WallClock | None = None, **options) -> FolderStorage:
    chosen = StorageOptions(kind="folder", **options)
    return FolderStorage(folder, chosen, LinkSigner(KEY), clock or WallClock())


@contextmanager
def ready(pictures: PictureStorage, files: PictureFiles | None = None) -> Iterator[Storage]:
    """Yield a storage as the transports get it."""
    with ThreadPoolExecutor(2) as pool:
        yield Storage(pictures, files, pool)


# --- a bucket -------------------------------------------------------------------------------------

ACCESS_KEY, SECRET_KEY, REGION = "AKIDEXAMPLE", "wJalrXUtnFEMI", "eu-test-1"


@dataclass
class Bucket:
    """An S3 bucket over HTTP that takes requests with right Signature V4 only, in path style.

    Written from AWS's description of the signature, not from a client, so that it is a check.
    """

    name: str = "pictures"
    objects: dict[str, tuple[bytes, dict[str, str]]] = field(default_factory=dict)
    refuses: bool = False
    url: str = ""

    def answer(  # noqa: PLR0911 - one per answer of S3
        self, method: str, target: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(target)
        path = unquote(parts.path)
        if self.refuses:
            return 403, {}, b"<Error><Code>AccessDenied</Code></Error>"
        if not _is_signed(method, parts.path, parts.query, headers):
            return 403, {}, b"<Error><Code>SignatureDoesNotMatch</Code></Error>"
        if not path.startswith(f"/{self.name}"):
            return 404, {}, b"<Error><Code>NoSuchBucket</Code></Error>"
        key = path.removeprefix(f"/{self.name}").removeprefix("/")
        if method == "HEAD":
            return 200, {}, b""
        if method == "PUT":
            self.objects[key] = (body, headers)
            return 200, {"etag": '"x"'}, b""
        if key not in self.objects:
            return 404, {}, b"<Error><Code>NoSuchKey</Code></Error>"
        content, stored = self.objects[key]
        return 200, {"content-type": stored["content-type"]}, content


def _is_signed(method: str, path: str, query: str, headers: dict[str, str]) -> bool:
    pairs = dict(parse_qsl(query, keep_blank_values=True))
    if "X-Amz-Signature" in pairs:
        signature = pairs.pop("X-Amz-Signature")
        time, scope = pairs["X-Amz-Date"], pairs["X-Amz-Credential"]
        signed, digest = pairs["X-Amz-SignedHeaders"], "UNSIGNED-PAYLOAD"
        ends_at = _moment(time) + timedelta(seconds=int(pairs["X-Amz-Expires"]))
        if datetime.now(UTC) >= ends_at:
            return False
    else:
        algorithm, _, rest = headers.get("authorization", "").partition(" ")
        given = dict(part.strip().split("=", 1) for part in rest.split(","))
        if algorithm != "AWS4-HMAC-SHA256":
            return False
        signature, scope, signed = given["Signature"], given["Credential"], given["SignedHeaders"]
        time, digest = headers["x-amz-date"], headers["x-amz-content-sha256"]
    access_key, _, scope = scope.partition("/")
    names = signed.split(";")
    canonical_query = "&".join(
        f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}" for k, v in sorted(pairs.items())
    )
    canonical = "\n".join(
        [
            method,
            path,
            canonical_query,
            *(f"{name}:{' '.join(headers[name].split())}" for name in names),
            "",
            signed,
            digest,
        ]
    )
    wanted = hmac.new(_signing_key(scope), _to_sign(time, scope, canonical), hashlib.sha256)
    return access_key == ACCESS_KEY and hmac.compare_digest(wanted.hexdigest(), signature)


def _moment(time: str) -> datetime:
    return datetime.strptime(time, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


def _to_sign(time: str, scope: str, canonical: str) -> bytes:
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return f"AWS4-HMAC-SHA256\n{time}\n{scope}\n{digest}".encode()


def _signing_key(scope: str) -> bytes:
    key = f"AWS4{SECRET_KEY}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


@contextmanager
def serve_bucket() -> Iterator[Bucket]:
    """Serve a bucket on this machine."""
    bucket = Bucket()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            if self.headers.get("expect") == "100-continue":
                self.send_response_only(100)
                self.end_headers()
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, extra, content = bucket.answer(self.command, self.path, headers, body)
            self.send_response(status)
            for name, value in {**extra, "content-length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_HEAD = handle_any  # noqa: N815 - the library's names

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        bucket.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield bucket
        finally:
            server.shutdown()
            thread.join()
