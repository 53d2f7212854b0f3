"""`make verify-image`: builds the image, runs it as strictly as the chart does, says what was seen.

`python -m deploy.verify.image` needs podman, and mmdebstrap unless `--base` names an image: the
official one, by digest, on a machine that reaches a registry. docs/image.md explains it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.verify import tools
from deploy.verify.image_build import ROOT, Built, build
from deploy.verify.image_engine import ImageFault, Podman, run
from deploy.verify.image_run import Findings, check

if TYPE_CHECKING:
    from collections.abc import Sequence

_LABELS = ("title", "description", "version", "revision", "licenses", "base.name")
_MIB = 1 << 20


def main(arguments: Sequence[str]) -> int:
    """Build, lint and check; write the report. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m deploy.verify.image")
    parser.add_argument(
        "--base", help="the image to build on, such as docker.io/library/python@sha256:..."
    )
    parser.add_argument("--work", type=Path, default=ROOT / "var" / "image", help="what is kept")
    parser.add_argument("--storage", type=Path, help="a folder for images, instead of podman's own")
    options = parser.parse_args(arguments)
    work, storage = options.work.absolute(), options.storage
    podman = Podman(storage.absolute() if storage else None)
    try:
        started_s = time.monotonic()
        built = build(podman, work, options.base)
        build_s = time.monotonic() - started_s
        lint(built.dockerfile)
        facts = describe(podman, built)
        findings = check(podman, built.name, built.version)
    except (ImageFault, tools.ToolMissing) as fault:
        sys.stderr.write(f"{fault}\n")
        return 1
    report = {**facts, "build_s": round(build_s, 1), **asdict(findings)}
    (work / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    summary = summarize(facts, findings)
    (work / "report.txt").write_text(summary, encoding="utf-8")
    sys.stdout.write(summary)
    return 0


def lint(dockerfile: Path) -> None:
    """Check the Dockerfile that BentoML generated; no rule is off.

    Raises ImageFault or ToolMissing.
    """
    hadolint = str(tools.find("hadolint"))
    run([hadolint, "--no-color", "--failure-threshold", "style", str(dockerfile)])


def describe(podman: Podman, built: Built) -> dict[str, Any]:
    """Return what the image is made of, for the report. Raises ImageFault if its metadata lack."""
    (image,) = json.loads(podman("image", "inspect", built.name))
    user, labels = image["User"], image["Labels"] or {}
    absent = [name for name in _LABELS if not labels.get(f"org.opencontainers.image.{name}")]
    absent += [] if image.get("Healthcheck") else ["a health check"]
    uid = user.partition(":")[0]
    absent += [] if uid.isdigit() and int(uid) > 0 else ["a user by number who is not root"]
    if absent:
        raise ImageFault(f"the image lacks {', '.join(absent)}")
    history = json.loads(podman("history", "--format", "json", "--no-trunc", built.name))
    layers = [
        {"bytes": layer["size"], "created_by": layer.get("CreatedBy", "")}
        for layer in history
        if layer["size"] > 0
    ]
    return {
        "image": {"name": built.name, "id": built.id, "bytes": image["Size"]},
        "base": {"name": built.base, "id": built.base_id},
        "labels": labels,
        "user": user,
        "layers": layers,
    }


def summarize(facts: dict[str, Any], findings: Findings) -> str:
    """Return the report for people."""
    image = facts["image"]
    lines = [
        f"{image['name']} {image['id'][:12]} on {facts['base']['name']}",
        f"size      {image['bytes'] / _MIB:.0f} MiB",
        *(f"  {_shown(layer)}" for layer in facts["layers"]),
        f"start     {findings.start_s:.1f} s until it is ready",
        f"memory    {findings.rss_bytes / _MIB:.0f} MiB after two pictures",
        f"stop      {findings.stop_s:.1f} s with a picture being drawn",
        "proven",
        *(f"  {sentence}" for sentence in findings.proven),
    ]
    return "\n".join(lines) + "\n"


def _shown(layer: dict[str, Any]) -> str:
    step = " ".join(layer["created_by"].split())
    return f"{layer['bytes'] / _MIB:8.1f} MiB  {step[:80]}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
