"""The service itself takes the environment and the files that a pod of the chart gets."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from service.access.control import check_access
from service.config import Settings, load_settings
from service.provenance.keys import load_signing_material
from service.rpc.tls import check_certificate
from tests.deploy.kit import (
    KSERVE,
    MATRIX,
    SOUND,
    container,
    manifests,
    plain_environment,
    pod_spec,
    render,
)
from tests.deploy.mounts import mount_secrets

EVERY = pytest.mark.parametrize("name", MATRIX)


@pytest.fixture(scope="module")
def mounted(tmp_path_factory) -> Path:
    folder: Path = tmp_path_factory.mktemp("mounted")
    mount_secrets(folder)
    return folder


def settings_of(environment: dict[str, str], mounted: Path, monkeypatch) -> Settings:
    """Load the settings as the service does, from nothing but what the pod gets."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value.replace("/run/mintmark", str(mounted)))
    return load_settings()


@EVERY
def test_the_service_starts_with_what_the_pod_gets(name, mounted, monkeypatch, tmp_path):
    environment = plain_environment(container(manifests(name)))
    settings = settings_of(environment, mounted, monkeypatch)
    check_access(settings.access, [settings.server.host])
    check_certificate(settings.rpc)
    load_signing_material(settings.provenance, tmp_path)


def test_kserve_starts_it_too(mounted, monkeypatch, tmp_path):
    runtime = yaml.safe_load((KSERVE / "serving-runtime.yaml").read_text())
    (one,) = runtime["spec"]["containers"]
    environment = plain_environment(one)
    # KServe fills this in.
    environment["MINTMARK_MODEL__MODEL_ID"] = "pictures"
    settings = settings_of(environment, mounted, monkeypatch)
    check_access(settings.access, [settings.server.host])
    load_signing_material(settings.provenance, tmp_path)


@EVERY
def test_every_file_that_is_named_is_mounted(name):
    spec = pod_spec(manifests(name))
    (one,) = spec["containers"]
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    files = set()
    for mount in one["volumeMounts"]:
        for item in volumes[mount["name"]].get("secret", {}).get("items", ()):
            files.add(f"{mount['mountPath']}/{item['path']}")
    named = {
        value for value in plain_environment(one).values() if value.startswith("/run/mintmark/")
    }
    assert named == files


@EVERY
def test_every_variable_is_set_once(name):
    names = [variable["name"] for variable in container(manifests(name))["env"]]
    assert len(names) == len(set(names))


@EVERY
def test_no_secret_is_in_the_manifest(name):
    """What is secret comes from a Secret by reference; a value would be in Helm's own record."""
    for variable in container(manifests(name))["env"]:
        if variable["name"].endswith(("__URL", "_HEADERS", "_TOKEN", "_ACCESS_KEY")):
            assert set(variable) == {"name", "valueFrom"}


def test_numbers_reach_the_service_as_they_were_written(mounted, monkeypatch):
    environment = plain_environment(container(manifests("everything")))
    assert environment["MINTMARK_LIMITS__MAX_UPLOAD_BYTES"] == "67108864"
    assert environment["MINTMARK_MODEL__ALSO"] == '["/models/another"]'
    settings = settings_of(environment, mounted, monkeypatch)
    assert settings.engine.request_timeout_s == 90.5
    assert settings.limits.max_guidance_scale == 12.5
    assert settings.telemetry.access_log is False


def test_threads_follow_the_requested_cpus():
    (variable,) = (
        each for each in container(render(*SOUND))["env"] if each["name"].endswith("NUM_THREADS")
    )
    assert variable["valueFrom"]["resourceFieldRef"] == {"resource": "requests.cpu", "divisor": "1"}
    chosen = container(render(*SOUND, "settings.model.num_threads=3"))
    assert plain_environment(chosen)["MINTMARK_MODEL__NUM_THREADS"] == "3"
    without = container(render(*SOUND, "resources.requests.cpu=null"))
    assert "MINTMARK_MODEL__NUM_THREADS" not in plain_environment(without)


def test_further_variables_are_passed_on():
    environment = plain_environment(container(manifests("everything")))
    assert environment["HTTPS_PROXY"] == "http://proxy:3128"


def test_a_development_authority_beside_a_database_is_allowed_to_one_replica_only():
    allowance = "MINTMARK_PROVENANCE__ALLOW_DEVELOPMENT_CA_ON_POSTGRESQL"
    alone = ("profile=development", "access.allowOpen=true")
    with_database = (*alone, "ledger.existingSecret=d")
    assert plain_environment(container(render(*with_database)))[allowance] == "true"
    assert allowance not in plain_environment(container(render(*alone)))
    signed = (*with_database, "signing.existingSecret=s")
    assert allowance not in plain_environment(container(render(*signed)))
