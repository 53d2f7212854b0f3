"""When a server may be open, and what it is told otherwise."""

from __future__ import annotations

import json
import logging
import socket

import pytest

from service.access.caller import OPEN_CALLER, current_caller
from service.access.control import (
    build_access,
    check_access,
    is_loopback,
    listening_host,
    open_access,
)
from service.access.keys import digest, to_toml
from service.access.options import AccessOptions
from service.errors import ConfigurationError, Unauthenticated
from tests.access_kit import APP_KEY, keyed_access, make_entry

KEYS_JSON = json.dumps({"keys": [{"name": "a", "sha256": digest("x"), "scopes": ["generate"]}]})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost", "LocalHost"])
def test_this_machine_needs_no_keys_and_is_warned_once(host, caplog):
    with caplog.at_level(logging.WARNING):
        assert build_access(AccessOptions(), [host]).is_open
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "no API keys" in caplog.text


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.0.0.1", "example.org", "127.1.evil"])
def test_other_addresses_without_keys_are_refused(host):
    with pytest.raises(ConfigurationError) as refused:
        check_access(AccessOptions(), ["127.0.0.1", host])
    for setting in ("MINTMARK_ACCESS__KEYS_FILE", "MINTMARK_ACCESS__ALLOW_OPEN"):
        assert setting in str(refused.value)


def test_an_open_address_can_be_meant(caplog):
    assert build_access(AccessOptions(allow_open=True), ["0.0.0.0"]).is_open
    assert "no API keys" in caplog.text


def test_keys_close_every_address_without_a_warning(tmp_path, caplog):
    path = tmp_path / "keys.toml"
    path.write_text(to_toml(make_entry()))
    for options in (AccessOptions(keys_file=path), AccessOptions(keys=KEYS_JSON)):
        for host in ("127.0.0.1", "0.0.0.0"):
            access = build_access(options, [host])
            assert not access.is_open
            with pytest.raises(Unauthenticated):
                access.authenticate(None)
    assert caplog.records == []


def test_keys_that_cannot_be_used_stop_the_start(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read"):
        check_access(AccessOptions(keys_file=tmp_path / "none"), ["127.0.0.1"])
    with pytest.raises(ConfigurationError, match="JSON"):
        check_access(AccessOptions(keys="nonsense"), ["127.0.0.1"])
    with pytest.raises(ConfigurationError, match="both"):
        check_access(AccessOptions(keys=KEYS_JSON, keys_file=tmp_path / "x"), ["127.0.0.1"])


def test_the_digests_are_not_in_the_logged_settings():
    assert digest("x") not in AccessOptions(keys=KEYS_JSON).model_dump_json()


def test_everybody_is_the_same_caller_without_keys():
    access = open_access()
    assert access.authenticate(None) is access.authenticate("Bearer x") is OPEN_CALLER
    assert access.caller() is OPEN_CALLER


def test_a_task_that_nobody_admitted_is_nobody():
    access = keyed_access()
    with pytest.raises(Unauthenticated):
        access.caller()
    token = current_caller.set(access.authenticate(f"Bearer {APP_KEY}"))
    try:
        assert access.caller().name == "app"
    finally:
        current_caller.reset(token)


def test_the_socket_says_where_it_listens():
    with socket.create_server(("0.0.0.0", 0)) as listener:
        assert listening_host(listener.fileno(), "127.0.0.1") == "0.0.0.0"
        assert listener.getsockname()[1]  # still open
    assert listening_host(None, "127.0.0.1") == "127.0.0.1"
    assert listening_host(listener.fileno(), "127.0.0.1") == "127.0.0.1"
    assert not is_loopback("0.0.0.0")


def test_a_socket_without_an_address_is_what_was_configured(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        assert listening_host(listener.fileno(), "127.0.0.1") == "127.0.0.1"
