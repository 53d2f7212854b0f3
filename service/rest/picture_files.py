"""GET /v1/images/files/{name}: a stored picture, for whoever has its link (stop 10)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.responses import Response

from service.errors import NotFound

if TYPE_CHECKING:
    from starlette.requests import Request

    from service.rest.dependencies import RestEnvironment
    from service.storage.interface import StoredFile

_PARAMETERS = ("expires", "signature")


class PictureFilesEndpoint:
    """Hands out pictures by signed links. The link is the permission: no key is asked for."""

    def __init__(self, environment: RestEnvironment) -> None:
        self._environment = environment

    async def retrieve(self, request: Request) -> Response:
        """Answer with the file; every link that does not work is not found, for whatever reason."""
        dependencies = self._environment.require_loaded()
        storage = dependencies.storage
        if storage is None or storage.files is None:
            raise _not_found()
        query = request.query_params
        if sorted(query.keys()) != sorted(_PARAMETERS) or len(query.multi_items()) > len(query):
            raise _not_found()
        file = await asyncio.get_running_loop().run_in_executor(
            storage.pool,
            storage.files.read,
            request.path_params["name"],
            query["expires"],
            query["signature"],
        )
        if file is None:
            raise _not_found()
        return Response(file.content, headers=_headers(file))


def _headers(file: StoredFile) -> dict[str, str]:
    return {
        "content-type": file.format.mime_type,
        "content-disposition": f'inline; filename="{file.name}"',
        "cache-control": f"private, max-age={file.remaining_s}, immutable",
        # A picture and nothing else, whatever its bytes may look like to a browser.
        "x-content-type-options": "nosniff",
        "content-security-policy": "default-src 'none'; sandbox",
    }


def _not_found() -> NotFound:
    return NotFound("There is no such picture, or its link has ended.")
