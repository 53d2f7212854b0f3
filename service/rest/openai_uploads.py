"""The files of an edit: picked from the form, bounded together, decoded in threads (stop 1)."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.errors import InvalidRequest, QueueFull
from service.rest.multipart import FormLimits
from service.rest.openai_schema import UNSUPPORTED, ImagesEditBody

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from service.intake import LimitsOptions
    from service.rest.multipart import Form, UploadedFile

IMAGE, MASK = "image", "mask"
_RETRY_AFTER_S = 2.0
_MAX_FILES = 17  # as many pictures as OpenAI takes, and a mask: to say which one is too many
_MAX_FIELDS = 64
_MAX_NAME_CHARS = 60
_BYTES_PER_CHAR = 4
_OVERHEAD_BYTES = 64 * 1024  # boundaries, part headers and the short fields


@dataclass(frozen=True, slots=True)
class EditFiles:
    """The contents of the files of an edit."""

    image: bytes
    mask: bytes | None

    @property
    def size_bytes(self) -> int:
        """Return what they take up together."""
        return len(self.image) + len(self.mask or b"")


class UploadBudget:
    """Bounds what the uploads of all requests under way take up together."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held_bytes = 0

    @contextmanager
    def hold(self, size_bytes: int) -> Iterator[None]:
        """Count `size_bytes` while the block runs; raises QueueFull if they are too many by now.

        One upload alone always finds room.
        """
        if self._held_bytes and self._held_bytes + size_bytes > self._max_bytes:
            raise QueueFull("Too many pictures are being edited.", retry_after_s=_RETRY_AFTER_S)
        self._held_bytes += size_bytes
        try:
            yield
        finally:
            self._held_bytes -= size_bytes


def edit_body_limit_bytes(limits: LimitsOptions) -> int:
    """Return how long the body of an edit may be: a picture, a mask, and the text."""
    text_bytes = 2 * _BYTES_PER_CHAR * limits.max_prompt_chars
    return 2 * limits.max_upload_bytes + text_bytes + _OVERHEAD_BYTES


def edit_form_limits(limits: LimitsOptions) -> FormLimits:
    """Return the limits of an edit's form."""
    return FormLimits(
        max_body_bytes=edit_body_limit_bytes(limits),
        max_file_bytes=limits.max_upload_bytes,
        max_files=_MAX_FILES,
        max_fields=_MAX_FIELDS,
    )


async def read_edit_files(form: Form, names: Collection[str] = (IMAGE, MASK)) -> EditFiles:
    """Return the files of an edit. Raises InvalidRequest naming what is missing or too much.

    names: those that the form may hold.
    """
    for name in form.files:
        if name not in names:
            raise _refusal(name)
    for name in names:
        if name in form.fields:
            raise InvalidRequest(f"'{name}' must be a file.", param=name)
    images, masks = form.files.get(IMAGE, []), form.files.get(MASK, [])
    if not images:
        raise InvalidRequest(f"'{IMAGE}' is required.", param=IMAGE)
    if len(images) > 1:
        raise InvalidRequest(
            f"'{IMAGE}': the models edit one picture at a time, and {len(images)} were sent.",
            param=IMAGE,
        )
    if len(masks) > 1:
        raise InvalidRequest(f"'{MASK}' must be one file.", param=MASK)
    return EditFiles(await _read(images[0]), await _read(masks[0]) if masks else None)


async def _read(file: UploadedFile) -> bytes:
    content = await file.read()
    if not content:
        raise InvalidRequest(f"'{file.name}' is empty.", param=file.name)
    return content


def _refusal(name: str) -> InvalidRequest:
    shown = name[:_MAX_NAME_CHARS]
    if name in UNSUPPORTED:
        problem = f"is not supported by this server: {UNSUPPORTED[name]}"
    elif name in ImagesEditBody.model_fields:
        problem = "must be text, not a file"
    else:
        problem = "is not a field of this request"
    return InvalidRequest(f"'{shown}' {problem}.", param=shown)
