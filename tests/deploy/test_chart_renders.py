"""Every installation renders, and what it renders is valid on every version that is supported."""

from __future__ import annotations

import subprocess

import pytest

from deploy.verify import core_resources, custom_resources
from deploy.verify.vendor_schemas import RESOURCES
from tests.deploy.kit import (
    CHART,
    KSERVE,
    MATRIX,
    NEWER_ONLY,
    NEWEST,
    OLDEST,
    ROOT,
    helm,
    manifests,
    rendered,
    template,
    tool,
)

EVERY = pytest.mark.parametrize("name", MATRIX)


def test_the_matrix_covers_every_template():
    sources = "".join(rendered(name) for name in MATRIX)
    names = {path.relative_to(CHART).as_posix() for path in CHART.glob("templates/**/*.yaml")}
    assert {name for name in names if f"# Source: mintmark/{name}" not in sources} == set()


def test_helm_lints_every_installation():
    arguments = ["lint", "--strict", str(CHART)]
    for path in MATRIX.values():
        done = helm(*arguments, "--values", str(path), "--kube-version", NEWEST)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "version"),
    [(name, NEWEST) for name in MATRIX]
    + [(name, OLDEST) for name in sorted(MATRIX.keys() - NEWER_ONLY)],
)
def test_manifests_are_valid(name, version):
    for manifest in manifests(name, version):
        if manifest["kind"] in RESOURCES:
            custom_resources.check(manifest)
        else:
            core_resources.check(manifest, version)


@EVERY
def test_no_two_manifests_share_a_name(name):
    names = [(each["kind"], each["metadata"]["name"]) for each in manifests(name)]
    assert len(names) == len(set(names))


@EVERY
def test_every_manifest_is_in_the_releases_namespace(name):
    namespaces = {each["metadata"].get("namespace") for each in manifests(name)}
    assert namespaces == {"pictures"}


def test_the_chart_is_refused_below_the_oldest_version():
    done = template([MATRIX["cpu"]], version="1.28")
    assert f"requires kubeVersion: >={OLDEST}.0-0" in done.stderr


def test_nothing_that_is_rendered_is_misconfigured(tmp_path):
    for name in MATRIX:
        (tmp_path / f"{name}.yaml").write_text(rendered(name))
    for path in KSERVE.glob("*.yaml"):
        (tmp_path / path.name).write_text(path.read_text())
    command = [tool("trivy"), "config", "--quiet", "--exit-code", "1", "--skip-check-update"]
    command += ["--skip-version-check", "--disable-telemetry", "--misconfig-scanners", "kubernetes"]
    command += ["--ignorefile", str(ROOT / "deploy" / "verify" / "trivyignore"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout
