"""`python -m loadtests.run SCENARIO`: one load test from the command line.

Exit code: 0 if every budget was kept, 1 if one was missed, 2 for a command or scenario that cannot
be used, 3 if the run is invalid: the generator could not keep up, or the machine was busy with
something else when a budget was missed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import sys
import tempfile
from contextlib import AsyncExitStack, ExitStack
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlsplit

import click
from rich.console import Console

from loadtests.conduct import Conducted, Subject, conduct
from loadtests.harness.objective import CalibrationFailed
from loadtests.own_server import Endpoints, own_server
from loadtests.report.table import print_result
from loadtests.scenario import Loaded, ScenarioError, load_scenario
from loadtests.server_process import ServerFailed
from loadtests.targets.grpc import GrpcTarget
from loadtests.targets.http import HttpTarget

_PORT = 3001
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("scenario", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--target", help="URL of a running server; without it, one is started.")
@click.option("--grpc-address", help="Its gRPC address; port 3001 of the same host by default.")
@click.option("--grpc", "is_grpc", is_flag=True, help="Ask over gRPC, whatever the scenario says.")
@click.option("--allow-remote", is_flag=True, help="The target is yours, and not this machine.")
@click.option("--api-key", envvar="MM_API_KEY", help="For servers with keys.")
@click.option("--duration", "duration_s", type=float, help="Seconds, instead of the scenario's.")
@click.option("--seed", type=int, help="Instead of the scenario's.")
@click.option("--json", "json_path", type=_FILE, help="Where the result goes.")
@click.option("--html", "html_path", type=_FILE, help="Where the report goes.")
@click.option("--png", "png_path", type=_FILE, help="Where the plots go, in one picture.")
@click.option("--samples", "samples_path", type=_FILE, help="Where every request goes, by lines.")
def main(  # noqa: PLR0913, PLR0917 - one parameter for each option
    scenario: Path,
    target: str | None,
    grpc_address: str | None,
    is_grpc: bool,
    allow_remote: bool,
    api_key: str | None,
    duration_s: float | None,
    seed: int | None,
    json_path: Path | None,
    html_path: Path | None,
    png_path: Path | None,
    samples_path: Path | None,
) -> None:
    """Offer the load of SCENARIO to a server, and hold what comes of it against its budgets."""
    changes = {"duration_s": duration_s, "seed": seed, "transport": "grpc" if is_grpc else None}
    said = {name: value for name, value in changes.items() if value is not None}
    try:
        loaded = load_scenario(scenario, said)
        with ExitStack() as stack:
            if target is None:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                options = loaded.scenario.server
                server = own_server(folder, options.settings, options.sizes_px)
                endpoints = stack.enter_context(server)
            else:
                endpoints = _endpoints(target, grpc_address, allow_remote=allow_remote)
            conducted = asyncio.run(run_against(endpoints, loaded, api_key))
    except (ScenarioError, ServerFailed, CalibrationFailed) as error:
        raise click.UsageError(str(error)) from None
    _write(conducted, json_path, samples_path)
    _show(conducted, html_path, png_path)
    print_result(conducted.result, Console(width=None if sys.stdout.isatty() else 120))
    sys.exit(conducted.result.exit_code)


async def run_against(endpoints: Endpoints, loaded: Loaded, api_key: str | None) -> Conducted:
    """Return the result of one scenario against a server, over the transport that it names."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(HttpTarget(endpoints.http_url, api_key=api_key))
        if not await http.is_ready():
            raise ServerFailed(f"{endpoints.http_url} does not say that it is ready.")
        is_local = is_loopback(urlsplit(endpoints.http_url).hostname or "")
        if loaded.scenario.transport == "http":
            subject = Subject(endpoints.http_url, http, http, http, is_local)
        else:
            address = endpoints.grpc_address
            grpc = await stack.enter_async_context(GrpcTarget(address, api_key=api_key))
            subject = Subject(address, grpc, http, grpc, is_local)
        return await conduct(loaded, subject)


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, going by its name alone: nothing is resolved."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _endpoints(target: str, grpc_address: str | None, *, allow_remote: bool) -> Endpoints:
    """Return where a running server is. Raises click.UsageError for somebody else's."""
    host = urlsplit(target).hostname
    if host is None:
        raise click.UsageError(f"--target {target} is not a URL such as http://127.0.0.1:3000.")
    # Brackets, as a port follows: [::1]:3001.
    address = grpc_address or f"{f'[{host}]' if ':' in host else host}:{_PORT}"
    grpc_host = urlsplit(f"//{address}").hostname or ""
    for each in (host, grpc_host):
        if not allow_remote and not is_loopback(each):
            raise click.UsageError(
                f"{each} is not this machine. Load goes to servers that are yours: "
                "say so with --allow-remote."
            )
    return Endpoints(target.rstrip("/"), address)


def _write(conducted: Conducted, json_path: Path | None, samples_path: Path | None) -> None:
    if json_path is not None:
        json_path.write_text(conducted.result.model_dump_json(indent=2) + "\n", encoding="utf-8")
    if samples_path is not None:
        lines = [json.dumps(asdict(each)) for each in conducted.recording.samples]
        samples_path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _show(conducted: Conducted, html_path: Path | None, png_path: Path | None) -> None:
    if html_path is None and png_path is None:
        return  # matplotlib is needed for pictures only
    from loadtests.report.html import as_html
    from loadtests.report.plots import as_png, plots_of

    result = conducted.result
    plots = plots_of(result, conducted.recording.samples)
    if html_path is not None:
        html_path.write_text(as_html(result, plots), encoding="utf-8")
    if png_path is not None:
        png_path.write_bytes(as_png(plots, f"{result.scenario}: {result.outcome}"))


if __name__ == "__main__":
    main()
