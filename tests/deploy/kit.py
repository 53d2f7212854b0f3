"""Renders the chart as Helm does, for every installation that the repository describes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.verify.tools import ToolMissing, find

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "mintmark"
KSERVE = ROOT / "deploy" / "kserve"
OLDEST, NEWEST = "1.29", "1.37"
# Those that people install, and those that only tests do.
MATRIX = {path.stem: path for path in sorted([*CHART.glob("values-*.yaml"), *CHART.glob("ci/*")])}
# Image volumes are younger than the oldest version.
NEWER_ONLY = frozenset({"image-volume"})
# A complete installation of production, to be spoilt by one value.
SOUND = (
    "signing.existingSecret=signing",
    "access.existingSecret=keys",
    "ledger.existingSecret=database",
)
# The same without a database.
ALONE = (*SOUND[:2], "state.persistence.enabled=true")

Manifest = dict[str, Any]


def tool(program: str) -> str:
    """Return a program's path; without it the test is skipped, or failed where CI counts on it."""
    try:
        return str(find(program))
    except ToolMissing as missing:
        if os.environ.get("CI"):
            pytest.fail(str(missing))
        pytest.skip(str(missing))


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [tool("helm"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)


def template(
    files: Sequence[Path] = (), sets: Sequence[str] = (), version: str = NEWEST
) -> subprocess.CompletedProcess[str]:
    """Run `helm template` with values files and `--set` assignments."""
    arguments = ["template", "shop", str(CHART), "--namespace", "pictures"]
    arguments += ["--kube-version", version]
    for path in files:
        arguments += ["--values", str(path)]
    for assignment in sets:
        arguments += ["--set", assignment]
    return helm(*arguments)


@cache
def rendered(name: str, version: str = NEWEST) -> str:
    """Return the manifests of one entry of the matrix, as text."""
    done = template([MATRIX[name]], version=version)
    assert done.returncode == 0, done.stderr
    return done.stdout


def manifests(name: str, version: str = NEWEST) -> list[Manifest]:
    return parse(rendered(name, version))


def render(*sets: str, version: str = NEWEST) -> list[Manifest]:
    """Return what assignments alone give."""
    done = template(sets=sets, version=version)
    assert done.returncode == 0, done.stderr
    return parse(done.stdout)


def parse(text: str) -> list[Manifest]:
    return [each for each in yaml.load_all(text, yaml.CSafeLoader) if each]


def refusal(*sets: str, version: str = NEWEST) -> str:
    """Return what Helm says to values that it must refuse."""
    done = template(sets=sets, version=version)
    assert done.returncode != 0, "the chart rendered"
    return done.stderr


def of_kind(found: list[Manifest], kind: str) -> list[Manifest]:
    return [each for each in found if each["kind"] == kind]


def only(found: list[Manifest], kind: str) -> Manifest:
    (manifest,) = of_kind(found, kind)
    return manifest


def pod_spec(found: list[Manifest]) -> dict[str, Any]:
    spec: dict[str, Any] = only(found, "Deployment")["spec"]["template"]["spec"]
    return spec


def container(found: list[Manifest]) -> dict[str, Any]:
    (one,) = pod_spec(found)["containers"]
    assert isinstance(one, dict)
    return one


def plain_environment(one: dict[str, Any], requested_cpus: str = "4") -> dict[str, str]:
    """Return a container's variables as the kubelet would set them; secrets get a stand-in."""
    secrets = {"MINTMARK_LEDGER__URL": "postgresql://user:word@database:5432/mintmark"}
    environment = {}
    for variable in one["env"]:
        name = variable["name"]
        source = variable.get("valueFrom", {})
        if "resourceFieldRef" in source:
            environment[name] = requested_cpus
        elif "secretKeyRef" in source:
            environment[name] = secrets.get(name, "x-header=secret")
        else:
            environment[name] = str(variable.get("value", ""))
    return environment
