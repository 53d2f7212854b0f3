"""Opens every model that is to be served, and says which setting is at fault if one cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from models.errors import ModelError
from service.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.options import LoadOptions

Opened = TypeVar("Opened")

_ALSO = "MINTMARK_MODEL__ALSO"


def open_each(
    options: LoadOptions,
    open_one: Callable[[LoadOptions], Opened],
    id_of: Callable[[Opened], str],
) -> dict[str, Opened]:
    """Return every model by its id, the default one first.

    open_one: loads one model, or reads its spec. id_of: the id of what it returned.
    Raises ConfigurationError for a model that cannot be opened, and for an id that two have.
    """
    found: dict[str, Opened] = {}
    for one in options.each():
        try:
            opened = open_one(one)
        except ModelError as exc:
            which = "The model" if not found else f"{_ALSO}: the model {one.path}"
            raise ConfigurationError(f"{which} cannot be loaded: {exc}") from exc
        model_id = id_of(opened)
        if model_id in found:
            raise ConfigurationError(
                f"{_ALSO}: the model {one.path} has the id {model_id!r}, and so has another served "
                "model. Give one of them another model_id in its mintmark.json."
            )
        found[model_id] = opened
    return found
