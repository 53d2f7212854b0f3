"""The command line's small decisions: what is imported, named, shown and refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from click import ClickException
from click.testing import CliRunner

from service.cli.generate import output_paths
from service.cli.main import cli
from service.cli.serve import absolute_paths
from service.cli.service_client import answer, open_client
from service.cli.verify import describe
from service.config import Settings
from service.version import installed_version

ROOT = Path(__file__).parents[3]


def run(*arguments: str):
    return CliRunner().invoke(cli, arguments)


def test_the_version_is_shown():
    assert run("--version").output == f"mintmark {installed_version()}\n"


def test_every_command_is_listed_and_explains_itself():
    listing = run("--help").output
    for command in ("export", "generate", "serve", "verify"):
        assert f"  {command} " in listing
        assert run(command, "--help").exit_code == 0


def test_an_unknown_command_is_a_usage_error():
    assert run("draw").exit_code == 2


def test_no_command_imports_what_it_does_not_use():
    heavy = "{'bentoml', 'onnxruntime', 'torch', 'c2pa', 'cv2', 'numpy', 'starlette'}"
    check = (
        "import sys; from service.cli.main import cli; import service.cli.generate; "
        f"import service.cli.export; print(sorted({heavy} & set(sys.modules)))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert shown.stdout == "[]\n"


def test_a_wrong_setting_is_one_line_and_no_traceback():
    shown = subprocess.run(
        [sys.executable, "-m", "service.cli", "serve"],
        cwd=ROOT,
        env={"MINTMARK_SERVRE__HTTP_PORT": "1", "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 1
    assert shown.stderr.startswith("Error: MINTMARK_SERVRE__HTTP_PORT is not a setting")
    assert "Traceback" not in shown.stderr


def test_relative_paths_mean_the_callers_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").mkdir()
    settings = Settings(
        server={"state_dir": "var"},
        model={"path": "weights", "also": ["weights", "org/name@1"]},
        provenance={"trust_anchors_path": "roots.pem"},
    )
    assert absolute_paths(settings) == {
        "MINTMARK_SERVER__STATE_DIR": str(tmp_path / "var"),
        "MINTMARK_MODEL__PATH": str(tmp_path / "weights"),
        "MINTMARK_MODEL__ALSO": f'["{tmp_path / "weights"}", "org/name@1"]',
        "MINTMARK_PROVENANCE__TRUST_ANCHORS_PATH": str(tmp_path / "roots.pem"),
    }


def test_a_hub_id_is_no_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = Settings(model={"path": "org/name"})
    assert "MINTMARK_MODEL__PATH" not in absolute_paths(settings)


def test_several_pictures_get_numbered_names():
    assert output_paths(Path("a/b.png"), 1) == [Path("a/b.png")]
    assert output_paths(Path("a/b.png"), 3) == [Path(f"a/b-{n}.png") for n in (1, 2, 3)]


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (httpx.Response(400, json={"error": {"message": "'n' is bad."}}), "'n' is bad."),
        (
            httpx.Response(503, json={"error": {"message": "Full."}}, headers={"retry-after": "7"}),
            "Full. Try again in 7 s.",
        ),
        (httpx.Response(500, json={"detail": "other"}), "HTTP 500"),
        (httpx.Response(200, text="<html>"), "http://service/x does not answer like this service."),
        (httpx.Response(200, json=[1]), "http://service/x does not answer like this service."),
    ],
)
def test_a_refusal_is_told_in_the_services_words(response, message):
    transport = httpx.MockTransport(lambda request: response)
    with open_client("http://service/", transport) as client, pytest.raises(ClickException) as told:
        answer(client.get("/x"))
    assert told.value.message == message


REPORT = {
    "verdict": "ai_generated_by_us",
    "confidence": "proof",
    "c2pa": {
        "state": "Trusted",
        "issuer": "Us",
        "time": "2026-01-01T00:00:00Z",
        "failures": [],
        "output_id": "out_1",
    },
    "watermark": {
        "present": True,
        "check": "passed",
        "id": "0000beef",
        "profile": "sst64",
        "registered": True,
        "output_id": "out_1",
    },
    "notes": ["Mind this."],
}


def test_a_report_is_shown_in_words():
    assert describe(Path("a.png"), REPORT) == [
        "a.png: ai_generated_by_us (proof)",
        "  credentials  Trusted, Us, 2026-01-01T00:00:00Z",
        "  watermark    0000beef (sst64, registered)",
        "  output       out_1",
        "  note         Mind this.",
    ]


def test_a_report_without_evidence_is_shown_in_words():
    report = {
        "verdict": "no_evidence",
        "confidence": "none",
        "c2pa": {
            "state": "Absent",
            "issuer": None,
            "time": None,
            "failures": [],
            "output_id": None,
        },
        "watermark": {"present": False, "check": "not_found", "output_id": None},
        "notes": [],
    }
    assert describe(Path("a.png"), report) == [
        "a.png: no_evidence (none)",
        "  credentials  Absent",
        "  watermark    not found",
    ]
