"""Settings come from MINTMARK_<SECTION>__<FIELD>; anything else stops the start."""

from __future__ import annotations

import os

import pytest
from pydantic import ValidationError

from service.config import child_environment, load_settings, setting_names
from service.errors import ConfigurationError


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.upper().startswith("MINTMARK_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_the_defaults_are_complete():
    settings = load_settings()
    assert settings.server.http_port == 3000
    assert settings.server.grpc_port == 3001
    assert settings.server.host == "127.0.0.1"


def test_a_setting_is_read(monkeypatch):
    monkeypatch.setenv("MINTMARK_ENGINE__MAX_BATCH_ROWS", "8")
    assert load_settings().engine.max_batch_rows == 8


def test_further_models_are_a_json_list(monkeypatch):
    monkeypatch.setenv("MINTMARK_MODEL__ALSO", '["/models/a", "org/b@1"]')
    assert load_settings().model.also == ("/models/a", "org/b@1")
    monkeypatch.setenv("MINTMARK_MODEL__ALSO", "/models/a")
    with pytest.raises(ConfigurationError, match="MINTMARK_MODEL__ALSO: must be a JSON list"):
        load_settings()


@pytest.mark.parametrize(
    "name",
    [
        "MINTMARK_ENGIN__MAX_BATCH_ROWS",  # pydantic-settings itself would ignore this one
        "MINTMARK_ENGINE__MAX_BATCH_ROW",
        "MINTMARK_ENGINE",  # a whole section as JSON: one way to say a thing is enough
        "MINTMARK_DEBUG",
        "mintmark_engine__nope",
    ],
)
def test_an_unknown_setting_stops_the_start_by_name(monkeypatch, name):
    monkeypatch.setenv(name, "1")
    with pytest.raises(ConfigurationError, match=name):
        load_settings()


def test_a_typo_gets_a_hint(monkeypatch):
    monkeypatch.setenv("MINTMARK_ENGIN__MAX_BATCH_ROWS", "8")
    with pytest.raises(ConfigurationError, match="MINTMARK_ENGINE__MAX_BATCH_ROWS"):
        load_settings()


def test_every_bad_value_is_reported_by_variable(monkeypatch):
    monkeypatch.setenv("MINTMARK_ENGINE__MAX_BATCH_ROWS", "zero")
    monkeypatch.setenv("MINTMARK_SERVER__HTTP_PORT", "99999")
    with pytest.raises(ConfigurationError) as refusal:
        load_settings()
    message = str(refusal.value)
    assert "MINTMARK_ENGINE__MAX_BATCH_ROWS" in message
    assert "MINTMARK_SERVER__HTTP_PORT" in message


def test_settings_are_frozen():
    settings = load_settings()
    name = "max_batch_rows"
    with pytest.raises(ValidationError):
        setattr(settings.engine, name, 2)


def test_setting_names_are_unique():
    names = [variable for _, _, variable in setting_names()]
    assert len(names) == len(set(names)) > 10


def test_the_child_never_reports_usage(monkeypatch):
    monkeypatch.setenv("BENTOML_DO_NOT_TRACK", "false")
    environment = child_environment(load_settings())
    assert environment["BENTOML_DO_NOT_TRACK"] == "true"
    assert environment["BENTOML_HOME"].endswith("bentoml")
