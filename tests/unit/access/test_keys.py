"""What a key is, what is stored of it, and which stored sets are refused."""

from __future__ import annotations

import json
import tomllib

import pytest

from service.access.caller import Scope
from service.access.keys import KeyEntry, digest, new_key, parse_keys, to_toml
from service.errors import ConfigurationError

SHA = digest("x")


def toml(**changes: object) -> bytes:
    values = {"name": '"app"', "sha256": f'"{SHA}"', "scopes": '["generate"]'} | changes
    return ("[[keys]]\n" + "".join(f"{k} = {v}\n" for k, v in values.items() if v)).encode()


def test_keys_are_long_random_and_recognisable():
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(key.startswith("mm_") and len(key) == 46 for key in keys)


def test_an_entry_reads_back_as_it_was_written():
    entry = KeyEntry(
        name="a.b-c_1",
        sha256=SHA,
        scopes={Scope.VERIFY, Scope.GENERATE},
        requests_per_minute=60,
        concurrent_requests=2,
        queued_seconds=1.5,
        expires_at="2026-12-31T00:00:00Z",
    )
    assert parse_keys(to_toml(entry).encode(), is_json=False) == {SHA: entry}
    assert "keys" in tomllib.loads(to_toml(entry))


def test_json_is_read_like_toml():
    content = json.dumps({"keys": [{"name": "app", "sha256": SHA, "scopes": ["generate"]}]})
    assert parse_keys(content.encode(), is_json=True) == parse_keys(toml(), is_json=False)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "keys"),
        (b"keys = []", "keys"),
        (b"not toml", "TOML"),
        (b"\xff\xfe", "TOML"),
        (b"#" * (1024 * 1024 + 1), "bytes"),
        (b"other = 1\n" + toml(), "other"),
        (toml(name='"a b"'), "name"),
        (toml(name='"a\\n"'), "name"),
        (toml(sha256='"abc"'), "sha256"),
        (toml(sha256=f'"{SHA.upper()}"'), "sha256"),
        (toml(scopes="[]"), "scopes"),
        (toml(scopes='["root"]'), "scopes"),
        (toml(requests_per_minute="0"), "requests_per_minute"),
        (toml(queued_seconds="inf"), "queued_seconds"),
        (toml(expires_at="2026-12-31T00:00:00"), "expires_at"),
        (toml(key='"mm_secret"'), "key"),
        (toml() + toml(), "twice"),
        (toml() + toml(sha256=f'"{digest("y")}"', scopes='["verify"]'), "differ"),
    ],
)
def test_what_is_no_key_file_is_refused_by_what_is_wrong(content, said):
    with pytest.raises(ConfigurationError, match=said) as refused:
        parse_keys(content, is_json=False)
    assert "mm_secret" not in str(refused.value)


def test_deeply_nested_json_is_refused():
    with pytest.raises(ConfigurationError, match="JSON"):
        parse_keys(b"[" * 100_000, is_json=True)


def test_two_keys_of_one_caller_may_overlap():
    both = toml() + toml(sha256=f'"{digest("y")}"')
    callers = {entry.caller() for entry in parse_keys(both, is_json=False).values()}
    assert len(callers) == 1
