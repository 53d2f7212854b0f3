"""What the transports know of a storage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from service.domain.request import OutputFormat
    from service.domain.result import SignedImage


@dataclass(frozen=True, slots=True)
class StoredPicture:
    """Where a stored picture can be had, by whoever has the link. `expires_at_s`: Unix time."""

    url: str
    expires_at_s: int


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A stored picture as it is handed out. `remaining_s`: how much longer its link works."""

    name: str
    content: bytes
    format: OutputFormat
    remaining_s: int


class PictureStorage(Protocol):
    """Keeps pictures for a while. Blocking, thread-safe.

    It takes nothing but a SignedImage, so that nothing unmarked can be stored.
    """

    def refuse_if_full(self) -> None:
        """Raise StorageFull if a request for links should not even begin. Never waits."""

    def store(self, image: SignedImage, base_url: str) -> StoredPicture:
        """Keep one picture and return its link. `base_url`: how the caller addresses us.

        Raises StorageFailed.
        """


class PictureFiles(Protocol):
    """Hands out what was stored here. Blocking, thread-safe."""

    def read(self, name: str, expires: str, signature: str) -> StoredFile | None:
        """Return the file of a link's parts; None for any link that is not or no longer ours."""


@dataclass(frozen=True, slots=True)
class Storage:
    """A storage ready for use. `files`: None if links lead elsewhere. `pool`: threads for it."""

    pictures: PictureStorage
    files: PictureFiles | None
    pool: Executor
