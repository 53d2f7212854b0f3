"""`mintmark verify FILE…`: where pictures come from, without a service and without a network."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from service.cli.api_key import api_key_option
from service.config import load_settings
from service.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FOUND, NOTHING_FOUND, INVALID, NOT_EXAMINED = 0, 1, 2, 3
_EXIT_CODES = {"no_evidence": NOTHING_FOUND, "invalid_credentials": INVALID}


class _NoTrust(click.ClickException):
    """There is nothing to verify against."""

    exit_code = NOT_EXAMINED


@click.command()
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False)
)
@click.option("--json", "as_json", is_flag=True, help="One JSON report per line.")
@click.option(
    "--trust-anchors",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="PEM file of the roots to trust, as a service serves it.",
)
@click.option("--url", help="Ask this service instead of examining the files here.")
@api_key_option
def verify(
    files: tuple[Path, ...],
    *,
    as_json: bool,
    trust_anchors: Path | None,
    url: str | None,
    api_key: str | None,
) -> None:
    """Say where pictures come from, by their credentials and their watermark.

    Exit code: 0 if every file carries evidence, 1 if one has none, 2 if one has credentials that
    do not hold, 3 if one could not be examined.
    """
    worst = FOUND
    with _remote(url, api_key) if url is not None else _local(trust_anchors) as examine:
        for path in files:
            try:
                report = examine(path)
            except (ServiceError, click.ClickException, OSError) as error:
                click.echo(f"{path}: {error}", err=True)
                worst = NOT_EXAMINED
                continue
            lines = (
                [json.dumps({"file": str(path), **report})] if as_json else describe(path, report)
            )
            click.echo("\n".join(lines))
            worst = max(worst, _EXIT_CODES.get(report["verdict"], FOUND))
    sys.exit(worst)


def describe(path: Path, report: dict[str, Any]) -> list[str]:
    """Return a verification report (as its JSON form) in lines for a person."""
    credentials, watermark = report["c2pa"], report["watermark"]
    lines = [f"{path}: {report['verdict']} ({report['confidence']})"]
    facts = [credentials["state"], credentials["issuer"], credentials["time"]]
    facts += credentials["failures"]
    lines.append(f"  credentials  {', '.join(str(fact) for fact in facts if fact)}")
    if watermark["present"]:
        known = {True: "registered", False: "not registered", None: "no ledger asked"}
        lines.append(
            f"  watermark    {watermark['id']} ({watermark['profile']}, "
            f"{known[watermark['registered']]})"
        )
    else:
        lines.append(f"  watermark    {watermark['check'].replace('_', ' ')}")
    output_id = credentials["output_id"] or watermark["output_id"]
    if output_id:
        lines.append(f"  output       {output_id}")
    lines += [f"  note         {note}" for note in report["notes"]]
    return lines


@contextmanager
def _remote(url: str, api_key: str | None) -> Iterator[Callable[[Path], dict[str, Any]]]:
    import httpx  # noqa: PLC0415 - the local way needs none of it

    from service.cli.service_client import answer, open_client, unreachable  # noqa: PLC0415

    with open_client(url, api_key=api_key) as client:

        def examine(path: Path) -> dict[str, Any]:
            try:
                upload = {"image": (path.name, path.read_bytes())}
                return answer(client.post("/v1/images/verify", files=upload))
            except httpx.TransportError as error:
                raise unreachable(url, error) from error

        yield examine


@contextmanager
def _local(trust_anchors: Path | None) -> Iterator[Callable[[Path], dict[str, Any]]]:
    """Yield a function that examines a file here, with this machine's trust and ledger."""
    from service.provenance.decode import DecodeLimits  # noqa: PLC0415 - loads native libraries
    from service.provenance.development_ca import DIRECTORY_NAME  # noqa: PLC0415
    from service.provenance.keys import load_signing_material  # noqa: PLC0415
    from service.provenance.ledger import Ledger  # noqa: PLC0415
    from service.provenance.verify import VerificationTrust, Verifier  # noqa: PLC0415
    from service.provenance.watermark import SpreadSpectrumWatermarker  # noqa: PLC0415

    settings = load_settings()
    state_dir = settings.server.state_dir
    has_signer = (
        settings.provenance.certificate_chain_path is not None
        or (state_dir / DIRECTORY_NAME).is_dir()
    )
    if trust_anchors is None and not has_signer:
        raise _NoTrust(
            "This machine has no trust anchors. Take them from the service that you trust "
            "(GET /v1/provenance/trust-anchors) and give them with --trust-anchors, or use --url."
        )
    with ExitStack() as stack:
        ledger = None
        if trust_anchors is not None:
            trust = VerificationTrust(trust_anchors.read_text(encoding="utf-8"))
        else:
            trust = VerificationTrust.of(load_signing_material(settings.provenance, state_dir))
            ledger = Ledger.open(settings.ledger, state_dir)
            stack.callback(ledger.close)
        limits = DecodeLimits(settings.limits.max_upload_bytes, settings.limits.max_upload_pixels)
        verifier = Verifier(trust, SpreadSpectrumWatermarker(), ledger, limits)
        stack.callback(verifier.close)
        yield lambda path: verifier.verify(path.read_bytes()).as_dict()
