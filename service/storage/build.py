"""Makes the storage that the settings ask for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from service.errors import ConfigurationError
from service.storage.folder import FolderStorage, picture_sweeper
from service.storage.interface import Storage
from service.storage.links import LinkSigner, load_link_key

if TYPE_CHECKING:
    from contextlib import ExitStack
    from pathlib import Path

    from service.storage.interface import PictureFiles, PictureStorage
    from service.storage.options import StorageOptions

_THREADS = 4


def build_storage(options: StorageOptions, state_dir: Path, stack: ExitStack) -> Storage | None:
    """Return the storage, or None if there is to be none; `stack` closes it. Blocking.

    Raises ConfigurationError.
    """
    if options.kind == "none":
        return None
    pictures: PictureStorage
    files: PictureFiles | None = None
    if options.kind == "folder":
        links = LinkSigner(load_link_key(options.link_key_path, state_dir))
        pictures = files = folder = FolderStorage(
            options.folder or state_dir / "pictures", options, links
        )
        sweeper = picture_sweeper(folder)
        sweeper.start()
        stack.callback(sweeper.stop)
    else:
        pictures = _open_bucket(options)
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="storage")
    stack.callback(pool.shutdown, wait=False, cancel_futures=True)
    return Storage(pictures, files, pool)


def _open_bucket(options: StorageOptions) -> PictureStorage:
    try:
        from service.storage.s3 import S3Storage  # noqa: PLC0415 - needs an extra, and is slow
    except ImportError as exc:
        raise ConfigurationError(
            "MINTMARK_STORAGE__KIND=s3 needs the extra s3: pip install 'mintmark[s3]'."
        ) from exc
    return S3Storage(options)
