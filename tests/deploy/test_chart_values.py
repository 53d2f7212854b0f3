"""The schema of the values: closed, described, and in step with the chart and with the service."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from typing import Any

import yaml

from deploy.verify.settings_schema import SCHEMA, SET_BY_CHART, settings_schema, with_settings
from service.config import setting_names
from tests.deploy.kit import CHART, ROOT

WHOLE = json.loads(SCHEMA.read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
# Kubernetes' own, whose insides its API server knows.
NATIVE = {"global", "affinity.nodeAffinity", "affinity.podAffinity", "affinity.podAntiAffinity"}

# Objects that are filled as far as the user likes.
FREELY_FILLED = ("settings", "resources.")


def forms(form: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every described place of the schema with its dotted path."""
    yield path, form
    for name, child in form.get("properties", {}).items():
        yield from forms(child, f"{path}.{name}".lstrip("."))
    for key in ("items", "additionalProperties"):
        if isinstance(form.get(key), dict):
            yield from forms(form[key], f"{path}[]")


def test_every_value_is_described():
    undescribed = [
        path for path, form in forms(WHOLE) if path and "[]" not in path and not form["description"]
    ]
    assert undescribed == []


def test_every_object_is_closed():
    """Either its names are listed and nothing else, or all its values have one form."""
    for path, form in forms(WHOLE):
        if form.get("type") != "object" or path in NATIVE:
            continue
        rest = form.get("additionalProperties")
        assert rest is False or ("properties" not in form and isinstance(rest, dict)), path


def test_every_value_has_a_default_and_none_can_be_taken_away():
    """`null` takes a default away, and with it what a template counts on, a restriction say."""

    for path, form in forms(WHOLE):
        default = default_of(path)
        if default is None or "properties" not in form or path.startswith(FREELY_FILLED):
            continue
        assert set(form["properties"]) - {"global"} == set(default), path
        assert set(form["required"]) == set(default), path


def default_of(path: str) -> dict[str, Any] | None:
    """Return the default at a dotted path if it is an object with something in it."""
    place: Any = VALUES
    for name in filter(None, path.split(".")):
        place = place.get(name) if isinstance(place, dict) else None
    return place if isinstance(place, dict) and place else None


def test_the_settings_are_those_of_the_service():
    assert with_settings(WHOLE) == WHOLE, "run `make docs`"


def test_what_the_chart_sets_is_a_setting_and_no_value():
    names = {f"{section}.{field}" for section, field, _ in setting_names()}
    assert names >= SET_BY_CHART
    for name in SET_BY_CHART:
        section, _, field = name.partition(".")
        offered = settings_schema()["properties"].get(section, {"properties": {}})
        assert field not in offered["properties"]


def test_the_chart_is_of_the_services_version():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert chart["appVersion"] == project["version"]


def test_no_secret_is_a_value():
    texts = json.dumps(settings_schema())
    for secret in ("MINTMARK_ACCESS__KEYS;", "MINTMARK_LEDGER__URL;", "OTLP_HEADERS;"):
        assert secret not in texts
