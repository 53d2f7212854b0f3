"""An answer comes back from where it was kept as it was."""

from __future__ import annotations

import pytest

from service.rest.answers import Answer
from service.rest.shared_answers import from_bytes, shared_key, to_bytes


@pytest.mark.parametrize("body", [b"", b"{}", bytes(range(256)) * 1024])
def test_an_answer_is_kept_whole(body):
    headers = [(b"content-type", b"application/json"), (b"x-odd", b"\xe9\x00")]
    start = {"type": "http.response.start", "status": 201, "headers": headers}
    found = from_bytes(to_bytes(Answer(start, (body[:7], body[7:]))))
    assert found.start == start
    assert b"".join(found.body) == body
    assert all(len(piece) <= 64 * 1024 for piece in found.body)


def test_a_key_belongs_to_its_caller():
    keys = {shared_key("a", b"k"), shared_key("a", b"l"), shared_key("b", b"k")}
    assert len(keys) == 3
    assert all(len(key) == 32 for key in keys)
