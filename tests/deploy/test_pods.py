"""What a pod of the chart is: how it starts, ends, is replaced, and what it may do."""

from __future__ import annotations

import importlib.util

import pytest
from bentoml._internal.container.generate import BENTO_PATH, BENTO_UID_GID

from tests.deploy.kit import (
    ALONE,
    KSERVE,
    MATRIX,
    SOUND,
    container,
    manifests,
    of_kind,
    only,
    parse,
    plain_environment,
    pod_spec,
    render,
)

EVERY = pytest.mark.parametrize("name", MATRIX)
GPU = (*SOUND, "gpu.enabled=true")
CACHE = ("model.source=cache", "model.cache.hubId=a/b", "model.cache.revision=main")


def strategy(*sets: str) -> tuple[str, object, object]:
    found = only(render(*sets), "Deployment")["spec"]["strategy"]
    rolling = found.get("rollingUpdate", {})
    return found["type"], rolling.get("maxSurge"), rolling.get("maxUnavailable")


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        pytest.param(SOUND, ("RollingUpdate", 1, 0), id="cpu"),
        pytest.param(GPU, ("RollingUpdate", 0, 1), id="every-gpu-taken"),
        pytest.param((*GPU, "gpu.spare=2"), ("RollingUpdate", 2, 0), id="two-gpus-free"),
        pytest.param(ALONE, ("Recreate", None, None), id="state-on-one-volume"),
        pytest.param((*SOUND, *CACHE), ("Recreate", None, None), id="cache-on-one-node"),
        pytest.param(
            (*SOUND, *CACHE, "model.cache.accessMode=ReadWriteMany"),
            ("RollingUpdate", 1, 0),
            id="cache-on-every-node",
        ),
        pytest.param(
            (
                *GPU,
                "rollout.strategy.type=RollingUpdate",
                "rollout.strategy.rollingUpdate.maxSurge=3",
            ),
            ("RollingUpdate", 3, None),
            id="said-otherwise",
        ),
    ],
)
def test_a_rollout_never_waits_for_what_is_taken(sets, expected):
    assert strategy(*sets) == expected


@EVERY
def test_the_grace_period_covers_the_longest_request(name):
    found = manifests(name)
    environment = plain_environment(container(found))
    longest_s = float(environment["MINTMARK_SERVER__LAME_DUCK_S"]) + float(
        environment["MINTMARK_ENGINE__REQUEST_TIMEOUT_S"]
    )
    assert pod_spec(found)["terminationGracePeriodSeconds"] >= longest_s + 5


@EVERY
def test_a_rollout_may_take_a_drain_and_a_start(name):
    found = manifests(name)
    spec = pod_spec(found)
    startup = container(found)["startupProbe"]
    start_s = startup["periodSeconds"] * startup["failureThreshold"]
    deadline_s = only(found, "Deployment")["spec"]["progressDeadlineSeconds"]
    assert deadline_s >= spec["terminationGracePeriodSeconds"] + start_s


def test_the_grace_period_follows_the_settings():
    sets = ("settings.engine.request_timeout_s=20", "drain.lameDuckSeconds=4")
    found = render(*SOUND, *sets, "drain.marginSeconds=10")
    assert pod_spec(found)["terminationGracePeriodSeconds"] == 34
    # A timeout of 90.5 s is rounded up.
    assert pod_spec(manifests("everything"))["terminationGracePeriodSeconds"] == 131


@EVERY
def test_liveness_is_asked_only_after_the_start(name):
    one = container(manifests(name))
    assert one["startupProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    assert one["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    assert one["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "http"}


@EVERY
def test_the_service_gives_up_before_the_probe_does(name):
    one = container(manifests(name))
    probe = one["startupProbe"]
    budget_s = float(plain_environment(one)["MINTMARK_SERVER__STARTUP_BUDGET_S"])
    assert probe["periodSeconds"] * probe["failureThreshold"] > budget_s


def test_without_liveness_there_still_is_a_start():
    one = container(render(*SOUND, "probes.liveness.enabled=false"))
    assert "livenessProbe" not in one
    assert "startupProbe" in one


@EVERY
def test_sigterm_is_the_services_own_affair(name):
    assert "lifecycle" not in container(manifests(name))


@EVERY
def test_no_pod_gets_variables_of_service_links(name):
    """A Service called mintmark would set MINTMARK_PORT, which stops the start."""
    specs = [pod_spec(manifests(name)), *(pod["spec"] for pod in of_kind(manifests(name), "Pod"))]
    assert all(spec["enableServiceLinks"] is False for spec in specs)


@EVERY
def test_a_pod_may_do_nothing(name):
    specs = [pod_spec(manifests(name)), *(pod["spec"] for pod in of_kind(manifests(name), "Pod"))]
    for spec in specs:
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        for one in spec["containers"]:
            check_container(one["securityContext"])


def check_container(security: dict[str, object]) -> None:
    assert security["readOnlyRootFilesystem"] is True
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}


@EVERY
def test_secrets_and_given_models_are_mounted_read_only(name):
    spec = pod_spec(manifests(name))
    writable = {"state", "tmp", "shm"}
    if any("claimName" in str(v) and v["name"] == "model" for v in spec["volumes"]):
        writable |= {"model"} if name in ("hub", "everything") else set()
    for mount in spec["containers"][0]["volumeMounts"]:
        assert mount.get("readOnly", False) is (mount["name"] not in writable), mount


@EVERY
def test_what_has_no_volume_has_a_limit(name):
    for volume in pod_spec(manifests(name))["volumes"]:
        if "emptyDir" in volume:
            assert volume["emptyDir"]["sizeLimit"]


def test_a_replica_gets_one_device_and_computes_on_it():
    one = container(manifests("everything"))
    assert one["resources"]["limits"]["nvidia.com/mig-3g.40gb"] == 1
    assert plain_environment(one)["MINTMARK_MODEL__DEVICE"] == "cuda"
    cpu = container(manifests("cpu"))
    assert set(cpu["resources"]["limits"]) == {"memory"}
    assert plain_environment(cpu)["MINTMARK_MODEL__DEVICE"] == "cpu"


@pytest.mark.parametrize(
    ("name", "path", "kind"),
    [
        ("values-gpu", "/models/stable-diffusion-v1-5", "persistentVolumeClaim"),
        ("image-volume", "/models/sdxl", "image"),
        ("hub", "runwayml/stable-diffusion-v1-5", "persistentVolumeClaim"),
    ],
)
def test_a_model_comes_from_where_the_values_say(name, path, kind):
    found = manifests(name)
    assert plain_environment(container(found))["MINTMARK_MODEL__PATH"] == path
    (volume,) = (each for each in pod_spec(found)["volumes"] if each["name"] == "model")
    assert kind in volume


def test_the_embedded_model_needs_no_volume():
    found = manifests("cpu")
    assert "MINTMARK_MODEL__PATH" not in plain_environment(container(found))
    assert "model" not in {volume["name"] for volume in pod_spec(found)["volumes"]}


def test_the_ledger_outlives_an_uninstallation():
    claim = only(manifests("values-gpu"), "PersistentVolumeClaim")
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_a_digest_wins_over_a_tag():
    assert container(manifests("hardened"))["image"].startswith("mintmark@sha256:")
    assert container(manifests("everything"))["image"] == "registry.example.com/mintmark:1.2"


def test_the_pod_is_what_the_image_is_made_for():
    """The user and the folder are BentoML's choice; another release may choose otherwise."""
    found = manifests("cpu")
    assert pod_spec(found)["securityContext"]["runAsUser"] == BENTO_UID_GID
    assert container(found)["workingDir"] == f"{BENTO_PATH}/src"
    assert importlib.util.find_spec(container(found)["command"][2]) is not None


def test_kserve_gives_the_same_pod():
    (runtime,) = parse((KSERVE / "serving-runtime.yaml").read_text())
    (service,) = parse((KSERVE / "inference-service.yaml").read_text())
    (one,) = runtime["spec"]["containers"]
    chart = container(manifests("values-gpu"))
    predictor = service["spec"]["predictor"]
    check_container(one["securityContext"])
    for key in ("image", "command", "workingDir", "securityContext", "resources"):
        assert str(one[key]) == str(chart[key]).replace(
            "'nvidia.com/gpu': 1", "'nvidia.com/gpu': '1'"
        )
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert {**one[probe], "httpGet": None} == {**chart[probe], "httpGet": None}
        assert one[probe]["httpGet"]["path"] == chart[probe]["httpGet"]["path"]
    grace_s = pod_spec(manifests("values-gpu"))["terminationGracePeriodSeconds"]
    assert predictor["terminationGracePeriodSeconds"] == grace_s
    assert predictor["enableServiceLinks"] is False
    assert predictor["deploymentStrategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
