"""Pictures in a folder of ours: written whole, handed out under signed links, removed in time."""

from __future__ import annotations

import heapq
import logging
import math
import os
import re
import secrets
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from service.domain.request import OutputFormat
from service.errors import ConfigurationError, StorageFailed, StorageFull
from service.repetition import Repetition
from service.storage.interface import StoredFile, StoredPicture

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from service.domain.result import SignedImage
    from service.storage.links import LinkSigner
    from service.storage.options import StorageOptions

logger = logging.getLogger(__name__)

_NAME = re.compile(r"([A-Za-z0-9_]{1,80})\.(png|jpeg|webp)", re.ASCII)
_DRAFT_PREFIX = "."
_MAX_REMOVED = 256
_SWEEP_S = 30.0
_LONGEST_WAIT_S = 60.0


class _Entry(NamedTuple):
    """A file of ours; the heap has the one that ends first on top."""

    expires_at_s: float
    name: str
    size_bytes: int


class FolderStorage:
    """Keeps pictures as files. `now`: Unix seconds.

    What it holds is known from the folder at the start and from its own writing since, so that
    nothing is listed per request. Several processes may share a folder; each then counts and
    removes what was there when it began, and its own.
    """

    def __init__(
        self,
        folder: Path,
        options: StorageOptions,
        links: LinkSigner,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Raises ConfigurationError if the folder cannot be made, listed or written to."""
        self._folder = folder
        self._options = options
        self._links = links
        self._now = now
        self._lock = threading.Lock()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._entries = self._listed()
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(0, "it cannot be written to")
        except OSError as exc:
            raise ConfigurationError(
                f"MINTMARK_STORAGE__FOLDER: {folder} cannot be used: {exc.strerror}."
            ) from exc
        self._held_bytes = sum(entry.size_bytes for entry in self._entries)

    @property
    def held_bytes(self) -> int:
        """Return what the pictures take up."""
        return self._held_bytes

    def refuse_if_full(self) -> None:
        """Raise StorageFull, with the time until the next picture goes, if there is no room.

        Pictures of requests that were let in are stored even so: the limit may be passed by theirs.
        """
        with self._lock:
            if self._held_bytes < self._options.max_bytes:
                return
            next_s = self._entries[0].expires_at_s if self._entries else self._now()
        wait_s = min(_LONGEST_WAIT_S, max(1.0, next_s - self._now()))
        raise StorageFull("There is no room for pictures by link.", retry_after_s=wait_s)

    def store(self, image: SignedImage, base_url: str) -> StoredPicture:
        """Write one picture and return its link; raises StorageFailed."""
        name = f"{image.output_id}.{image.format.value}"
        if not _NAME.fullmatch(name):
            raise StorageFailed("The picture has no name that a file can have.")
        expires_at_s = math.ceil(self._now()) + self._options.retention_s
        try:
            self._write(name, image.content, expires_at_s)
        except OSError as exc:
            logger.exception("a picture could not be stored", extra={"folder": str(self._folder)})
            raise StorageFailed("The picture could not be stored.") from exc
        with self._lock:
            heapq.heappush(self._entries, _Entry(expires_at_s, name, len(image.content)))
            self._held_bytes += len(image.content)
        base_url = self._options.public_base_url or base_url
        return StoredPicture(base_url + self._links.path(name, expires_at_s), expires_at_s)

    def read(self, name: str, expires: str, signature: str) -> StoredFile | None:
        """Return the file of a link; None if the link is not ours, has ended, or its file has."""
        expires_at_s = self._links.expiry(name, expires, signature)
        match = _NAME.fullmatch(name)
        now_s = self._now()
        if expires_at_s is None or match is None or now_s >= expires_at_s:
            return None
        try:
            content = (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise StorageFailed("The picture cannot be read.") from exc
        return StoredFile(name, content, OutputFormat(match[2]), int(expires_at_s - now_s))

    def sweep(self, limit: int = _MAX_REMOVED) -> int:
        """Remove up to `limit` pictures whose time is over; return how many went."""
        removed = 0
        while removed < limit:
            with self._lock:
                if not self._entries or self._entries[0].expires_at_s > self._now():
                    return removed
                entry = heapq.heappop(self._entries)
                self._held_bytes -= entry.size_bytes
            try:
                (self._folder / entry.name).unlink(missing_ok=True)
            except OSError:
                logger.exception("an expired picture could not be removed")
            removed += 1
        return removed

    def _write(self, name: str, content: bytes, expires_at_s: int) -> None:
        """Put a whole file in place or none. Its time of change says when it ends."""
        draft = self._folder / f"{_DRAFT_PREFIX}{name}.{secrets.token_hex(8)}"
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.utime(draft, (expires_at_s, expires_at_s))
            draft.replace(self._folder / name)
        except OSError:
            draft.unlink(missing_ok=True)
            raise

    def _listed(self) -> list[_Entry]:
        """Return what the folder holds, as a heap. Drafts are left-overs of a crash, and go soon.

        Whatever else lies in the folder is not ours and is left alone.
        """
        entries = []
        for path in self._folder.iterdir():
            name = path.name.removeprefix(_DRAFT_PREFIX)
            is_draft = name != path.name and _NAME.fullmatch(name.rpartition(".")[0])
            if path.is_symlink() or not (is_draft or _NAME.fullmatch(path.name)):
                continue
            stat = path.stat()
            ends_at_s = stat.st_mtime + (self._options.retention_s if is_draft else 0)
            entries.append(_Entry(ends_at_s, path.name, stat.st_size))
        heapq.heapify(entries)
        return entries


def picture_sweeper(storage: FolderStorage, interval_s: float = _SWEEP_S) -> Repetition:
    """Return what removes expired pictures, also while nobody stores any."""

    def sweep() -> float:
        return interval_s if storage.sweep() < _MAX_REMOVED else 0.0

    return Repetition(sweep, "picture-sweeper")
