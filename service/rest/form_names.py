"""Names of form fields with brackets, as OpenAI's client writes nested values."""

from __future__ import annotations

import re

from service.errors import InvalidRequest

FieldValue = str | list[str] | dict[str, "FieldValue"]

_MAX_DEPTH = 4
_SHOWN_CHARS = 60
# `name`, `name[]`, `name[key]`, `name[key][]`: brackets hold no brackets and only end a name.
_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_BRACKETS = re.compile(r"\[([^\[\]]*)\]")


class FormNames:
    """Collects text fields under their names.

    `a=1` is `{"a": "1"}`; `a[]=1` is `{"a": ["1"]}`; `a[b]=1` is `{"a": {"b": "1"}}`. A name that
    is given twice, or as two different things, is refused: taking either value would be a guess.
    """

    def __init__(self, max_fields: int) -> None:
        self._max_fields = max_fields
        self._count = 0
        self._fields: dict[str, FieldValue] = {}

    def fields(self) -> dict[str, FieldValue]:
        """Return everything that was added."""
        return self._fields

    def count(self) -> None:
        """Take note that one more field begins; raises InvalidRequest if it is one too many."""
        self._count += 1
        if self._count > self._max_fields:
            raise InvalidRequest(f"The form has more than {self._max_fields} fields.")

    def add(self, name: str, value: str) -> None:
        """Put one field in its place; raises InvalidRequest naming it."""
        match = _NAME.fullmatch(name)
        path = [match[1], *_BRACKETS.findall(match[2])] if match else []
        if not path or len(path) > _MAX_DEPTH or "" in path[:-1]:
            raise _refusal(name, "is not the name of a field")
        is_list = path[-1] == ""
        *parents, last = path[:-1] if is_list else path
        place = self._fields
        for parent in parents:
            below = place.setdefault(parent, {})
            if not isinstance(below, dict):
                raise _refusal(name, "is given twice, and differently")
            place = below
        if is_list:
            values = place.setdefault(last, [])
            if not isinstance(values, list):
                raise _refusal(name, "is given twice, and differently")
            values.append(value)
        elif last in place:
            raise _refusal(name, "is given twice")
        else:
            place[last] = value


def _refusal(name: str, problem: str) -> InvalidRequest:
    shown = name[:_SHOWN_CHARS]
    return InvalidRequest(f"'{shown}' {problem}.", param=shown)
