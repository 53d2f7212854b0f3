"""Whose request is whose, so that nobody sees or stops another caller's."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from service.access.caller import Scope
from service.errors import InvalidRequest

if TYPE_CHECKING:
    from service.access.caller import Caller
    from service.domain.identity import RequestId

_REMEMBERED = 8192  # several times what the use case remembers of past requests


class RequestOwners:
    """Remembers the caller of each request that was let in; forgets the oldest ones."""

    def __init__(self, max_requests: int = _REMEMBERED) -> None:
        self._max_requests = max_requests
        self._names: OrderedDict[RequestId, str] = OrderedDict()

    def claim(self, request_id: RequestId, caller: Caller) -> None:
        """Make `caller` the owner of the request that it wants to begin under this id.

        Raises InvalidRequest if another caller had the id: whoever takes an id over would see
        what became of the other's request.
        """
        if self._names.setdefault(request_id, caller.name) != caller.name:
            raise InvalidRequest("This X-Request-Id is taken.", param="x-request-id")
        self._names.move_to_end(request_id)
        while len(self._names) > self._max_requests:
            self._names.popitem(last=False)

    def forget(self, request_id: RequestId) -> None:
        """Free the id of a request that was refused."""
        self._names.pop(request_id, None)

    def may_see(self, request_id: RequestId, caller: Caller) -> bool:
        """Tell whether the request is the caller's own, or the caller an administrator."""
        return Scope.ADMIN in caller.scopes or self._names.get(request_id) == caller.name
