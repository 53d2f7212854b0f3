"""One inference as both transports carry it, free of either (stop 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.errors import InvalidRequest
from service.oip.tensors import show

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from service.oip.tensors import Tensor

Parameter = bool | int | float | str


@dataclass(frozen=True, slots=True)
class InferRequest:
    """What a caller asks for: well formed, and nothing checked against the model yet.

    `model_version`, `id`: empty if not said. `outputs`: by name, in the order wanted; empty means
    all of them.
    """

    model_name: str
    model_version: str
    id: str
    parameters: Mapping[str, Parameter]
    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class InferResponse:
    """The answer. `id`: the request's own, empty if it had none."""

    model_name: str
    model_version: str
    id: str
    outputs: tuple[Tensor, ...]


def refuse_unknown(names: Iterable[str], known: Collection[str], what: str) -> None:
    """Raise InvalidRequest for the first of `names` that is not known; `what`: as in "input"."""
    for name in names:
        if name not in known:
            shown = show(name)
            there_are = f"There are: {', '.join(known)}." if known else "There are none."
            raise InvalidRequest(f"'{shown}' is not a known {what}. {there_are}", param=shown)


def refuse_twice(names: Iterable[str], what: str) -> None:
    """Raise InvalidRequest for the first name that comes a second time."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            shown = show(name)
            raise InvalidRequest(f"The {what} '{shown}' is there twice.", param=shown)
        seen.add(name)
