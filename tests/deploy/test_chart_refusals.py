"""Values that would make an unsafe or a broken installation are refused, each with a sentence."""

from __future__ import annotations

import re

import pytest

from tests.deploy.kit import ALONE, CHART, OLDEST, ROOT, SOUND, refusal, render

UNSAFE = {
    "no-certificate": (SOUND[1:], "Production pictures need a certificate"),
    "one-authority-each": (
        ("profile=development", "replicas=2", *SOUND[1:]),
        "Several replicas must sign with one key",
    ),
    "no-keys": ((SOUND[0], SOUND[2]), "Everybody in the cluster could call"),
    "sqlite-and-replicas": ((*ALONE, "replicas=2"), "An SQLite ledger serves one replica"),
    "sqlite-and-hpa": ((*ALONE, "autoscaling.by=hpa"), "An SQLite ledger serves one replica"),
    "lost-ledger": (SOUND[:2], "The ledger would be lost with the pod"),
    "moving-model": (
        (*SOUND, "model.source=cache", "model.cache.hubId=a/b"),
        "A hub's model can change under its name",
    ),
}
INCOMPLETE = {
    "no-timeout": (
        (*SOUND, "settings.engine.request_timeout_s=null"),
        "settings.engine.request_timeout_s must have a value",
    ),
    "claim": ((*SOUND, "model.source=claim"), "needs model.claim.name"),
    "image": ((*SOUND, "model.source=image"), "needs model.image.reference"),
    "cache": ((*SOUND, "model.source=cache"), "needs model.cache.hubId"),
    "bucket": ((*SOUND, "storage.kind=s3"), "needs storage.s3.bucket"),
    "bucket-credentials": (
        (*SOUND, "storage.kind=s3", "storage.s3.bucket=b"),
        "storage.kind s3 needs credentials",
    ),
    "traces": ((*SOUND, "tracing.headersSecret=s"), "tracing.headersSecret needs tracing.endpoint"),
    "prometheus": ((*SOUND, "autoscaling.by=keda"), "needs autoscaling.prometheus.serverAddress"),
    "client-certificates": (
        (*SOUND, "grpc.tls.clientCaKey=ca.crt"),
        "without TLS no client shows a certificate",
    ),
    "ingress": ((*SOUND, "ingress.enabled=true"), "needs ingress.host"),
    "http-route": ((*SOUND, "gateway.http.enabled=true"), "needs gateway.http.parentRefs"),
    "grpc-route": ((*SOUND, "gateway.grpc.enabled=true"), "needs gateway.grpc.parentRefs"),
}
CONTRADICTORY = {
    "minimum-above-maximum": (
        (*SOUND, "autoscaling.by=hpa", "autoscaling.minReplicas=5"),
        "is above autoscaling.maxReplicas",
    ),
    "one-volume-many-replicas": (
        (*SOUND, "replicas=2", "state.persistence.enabled=true"),
        "state.persistence is one volume for one replica",
    ),
    "one-folder-many-replicas": (
        (*SOUND, "replicas=2", "storage.kind=folder"),
        "links reach any: use s3",
    ),
    "one-cache-many-replicas": (
        (*SOUND, "replicas=2", "model.source=cache", "model.cache.hubId=a/b"),
        "set model.cache.accessMode to ReadWriteMany",
    ),
    "tls-behind-a-gateway": (
        (
            *SOUND,
            "grpc.tls.existingSecret=tls",
            "gateway.grpc.enabled=true",
            "gateway.grpc.parentRefs[0].name=public",
        ),
        "gateway.grpc speaks plain text",
    ),
    "equal-ports": ((*SOUND, "ports.grpc=3000"), "must differ"),
    "unknown-threshold": (
        (*SOUND, "monitoring.rules.enabled=true", "monitoring.rules.thresholds.patience=1"),
        "There is no threshold patience",
    ),
}
# What the schema refuses; Helm names the value.
MALFORMED = {
    "unknown-value": ((*SOUND, "replicaCount=2"), "replicaCount"),
    "unknown-setting": ((*SOUND, "settings.engine.max_rows=2"), "max_rows"),
    "unknown-section": ((*SOUND, "settings.engin.max_batch_rows=2"), "engin"),
    "setting-out-of-range": ((*SOUND, "settings.engine.max_batch_rows=1"), "max_batch_rows"),
    "setting-of-another-type": ((*SOUND, "settings.engine.pin_batch_rows=7"), "pin_batch_rows"),
    "setting-of-the-chart": ((*SOUND, "settings.server.host=0.0.0.0"), "host"),
    "secret-as-a-value": ((*SOUND, "settings.access.keys=abc"), "keys"),
    "own-variable-past-the-schema": (
        (*SOUND, "extraEnv[0].name=MINTMARK_ACCESS__ALLOW_OPEN", "extraEnv[0].value=x"),
        "extraEnv",
    ),
    "liveness-without-startup": ((*SOUND, "probes.startup=null"), "startup"),
    "startup-switched-off": ((*SOUND, "probes.startup.enabled=false"), "enabled"),
    "two-autoscalers": (
        (*SOUND, "autoscaling.hpa.enabled=true", "autoscaling.keda.enabled=true"),
        "autoscaling",
    ),
    "scale-to-zero": ((*SOUND, "autoscaling.by=keda", "autoscaling.minReplicas=0"), "minReplicas"),
    "two-gpus": ((*SOUND, "gpu.count=2"), "gpu"),
    "privileges": ((*SOUND, "security.privileged=true"), "security"),
    "root": ((*SOUND, "security.runAsUser=0"), "runAsUser"),
    "metrics-for-everybody": ((*SOUND, "networkPolicy.monitoring=null"), "monitoring"),
    "keys-of-unknown-format": ((*SOUND, "access.key=keys.yaml"), "key"),
    "unknown-profile": ((*SOUND, "profile=staging"), "profile"),
}
# The first words of every sentence that the templates can say.
SENTENCES = [
    words
    for path in (CHART / "templates").glob("*.*")
    for words in re.findall(r'(?:append \$p|fail) (?:\(printf )?"([^%"\\:;]+)', path.read_text())
]


@pytest.mark.parametrize(
    ("sets", "sentence"),
    [
        pytest.param(*case, id=name)
        for table in (UNSAFE, INCOMPLETE, CONTRADICTORY, MALFORMED)
        for name, case in table.items()
    ],
)
def test_bad_values_are_refused_with_a_sentence(sets, sentence):
    assert sentence in refusal(*sets)


def test_what_the_bad_values_start_from_is_sound():
    assert render(*SOUND)
    assert render(*ALONE)


def test_an_image_volume_is_refused_where_kubernetes_has_none():
    sets = (*SOUND, "model.source=image", "model.image.reference=registry.example.com/m:1")
    assert f"needs Kubernetes 1.33; this is v{OLDEST}" in refusal(*sets, version=OLDEST)
    assert render(*sets, version="1.33")


def test_every_problem_is_told_at_once():
    told = refusal("replicas=2")
    for _, sentence in (UNSAFE["no-certificate"], UNSAFE["no-keys"], UNSAFE["sqlite-and-replicas"]):
        assert sentence in told


def test_what_is_unsafe_can_be_meant():
    allowed = ("signing.allowDevelopmentAuthority=true", "access.allowOpen=true")
    assert render(*allowed, "state.persistence.enabled=true")


def test_every_sentence_is_in_the_documentation():
    page = " ".join((ROOT / "docs" / "kubernetes.md").read_text().split())
    assert len(SENTENCES) > 20
    assert [words for words in SENTENCES if words.strip(" .") not in page] == []
