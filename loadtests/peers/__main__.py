"""`python -m loadtests.peers`: this service beside its peers, from the command line.

Exit code: 0 if it was measured, 2 for a command that cannot be used or a server that does not come
up, 3 if the machine was busy with something else, so that the figures say little.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import click

from loadtests.environment import record_environment
from loadtests.harness.objective import CalibrationFailed
from loadtests.peers.comparison import Comparison, compare
from loadtests.peers.fleet import LocalFleet, missing_packages
from loadtests.peers.options import DESCRIPTIONS, PEERS, Options, SubjectName
from loadtests.peers.runner import run
from loadtests.peers.table import markdown, warnings_of
from loadtests.server_process import ServerFailed

_FILE = click.Path(path_type=Path, dir_okay=False)
_VERSIONS = ("litserve", "fastapi", "bentoml", "diffusers", "torch", "onnxruntime")
QUICK = Options(
    rounds=1, fractions=(0.5, 0.9), burst=12, duration_s=4.0, alone_repeats=1, drain_s=60.0
)


@click.command()
@click.option("--quick", is_flag=True, help="One short round: shows that everything works.")
@click.option("--rounds", type=click.IntRange(1, 50), help="3 by default.")
@click.option("--duration", "duration_s", type=float, help="Seconds of each rate; 40 by default.")
@click.option("--fraction", "fractions", type=float, multiple=True, help="Of Mintmark's capacity.")
@click.option("--subject", "subjects", type=click.Choice(list(DESCRIPTIONS)), multiple=True)
@click.option("--threads", "num_threads", type=click.IntRange(1), help="Of each; all cores.")
@click.option("--seed", type=int, help="1 by default.")
@click.option("--json", "json_path", type=_FILE, help="Where every figure goes.")
@click.option("--markdown", "markdown_path", type=_FILE, help="Where the tables go.")
@click.option("--png", "png_path", type=_FILE, help="Where the plots go.")
def main(  # noqa: PLR0913 - one parameter for each option
    *,
    quick: bool,
    rounds: int | None,
    duration_s: float | None,
    fractions: tuple[float, ...],
    subjects: tuple[SubjectName, ...],
    num_threads: int | None,
    seed: int | None,
    json_path: Path | None,
    markdown_path: Path | None,
    png_path: Path | None,
) -> None:
    """Offer the same arrivals to Mintmark and to servers of the stock pipeline, in turn."""
    said = {
        "rounds": rounds,
        "duration_s": duration_s,
        "fractions": fractions or None,
        "subjects": subjects or PEERS,
        "num_threads": num_threads or len(os.sched_getaffinity(0)),
        "seed": seed,
    }
    # As an exception, or the server of the moment would outlive this process.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    known = {name: value for name, value in said.items() if value is not None}
    try:
        options = replace(QUICK if quick else Options(), **known)  # type: ignore[arg-type]
        _check_packages(options)
        comparison = _measure(options)
    except (ValueError, ServerFailed, CalibrationFailed) as error:
        raise click.UsageError(str(error)) from None
    _write(comparison, options, (json_path, markdown_path, png_path))
    sys.exit(3 if warnings_of(comparison) else 0)


def _check_packages(options: Options) -> None:
    missing = missing_packages(options.subjects)
    if missing:
        raise click.UsageError(f"Not installed: {', '.join(missing)}. pip install -e '.[peers]'")


def _measure(options: Options) -> Comparison:
    evidence = asyncio.run(
        run(options, LocalFleet(options), lambda text: click.echo(text, err=True))
    )
    return compare(evidence, options.duration_s, options.objective_scale)


def _write(
    comparison: Comparison, options: Options, paths: tuple[Path | None, Path | None, Path | None]
) -> None:
    json_path, markdown_path, png_path = paths
    text = markdown(comparison)
    click.echo(text)
    if markdown_path is not None:
        markdown_path.write_text(text, encoding="utf-8")
    if json_path is not None:
        document = {
            "schema_version": "mintmark.peers/1",
            "ended_at": datetime.now(UTC).isoformat(),
            "options": asdict(options),
            "environment": asdict(record_environment())
            | {"peers": {name: version(name) for name in _VERSIONS}},
            **comparison.as_json(),
        }
        json_path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    if png_path is not None:
        from loadtests.peers.plots import as_png

        rounds = f"{options.rounds} round{'' if options.rounds == 1 else 's'}"
        notes = "".join(f"\n{each}" for each in warnings_of(comparison))
        title = f"The same weights, arrivals and machine; medians of {rounds}{notes}"
        png_path.write_bytes(as_png(comparison, title))


if __name__ == "__main__":
    main()
