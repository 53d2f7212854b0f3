"""Text of a form as the types its fields have, read as strictly as JSON is (stop 1)."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from service.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pydantic import BaseModel

    from service.rest.form_names import FieldValue

# JSON's own numbers, as long as `service.rest.request_body` lets them be there.
_WHOLE = re.compile(r"-?[0-9]{1,20}")
_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?")
_FLAGS = {"true": True, "false": False, "1": True, "0": False}


def typed_values(fields: Mapping[str, FieldValue], model: type[BaseModel]) -> dict[str, Any]:
    """Return the fields with the types that `model` declares for them.

    Empty text means "not said", except for a required field. Raises InvalidRequest naming a field
    that is a list, has brackets, or is not of its type. Every name must be one of `model`'s.
    """
    values = {}
    for name, value in fields.items():
        declared = model.model_fields[name]
        if not isinstance(value, str):
            raise InvalidRequest(f"'{name}' must be one value.", param=name)
        if value == "" and not declared.is_required():
            continue
        read = _READERS.get(declared.annotation)
        values[name] = value if read is None else read(name, value)
    return values


def _whole(name: str, text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise InvalidRequest(f"'{name}' must be a whole number.", param=name)
    return int(text)


def _number(name: str, text: str) -> float:
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise InvalidRequest(f"'{name}' must be a number.", param=name)
    return value


def _flag(name: str, text: str) -> bool:
    if text.lower() not in _FLAGS:
        raise InvalidRequest(f"'{name}' must be true or false.", param=name)
    return _FLAGS[text.lower()]


_READERS: Mapping[Any, Callable[[str, str], Any]] = {
    int | None: _whole,
    float | None: _number,
    bool | None: _flag,
}
