"""`mintmark export FOLDER`: ONNX graphs for a model folder; the only command that needs torch."""

from __future__ import annotations

from pathlib import Path

import click

from models.errors import ModelError


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--check/--no-check", default=True, help="Compare every graph with torch.")
def export(folder: Path, *, check: bool) -> None:
    """Write the ONNX graphs of the diffusers model in FOLDER, next to its weights."""
    try:
        from models.runners.export import export_folder  # noqa: PLC0415 - needs the torch extra
    except ImportError as error:
        raise click.ClickException(
            f"Exporting needs torch and diffusers ({error.name} is missing). Install them with: "
            "pip install 'mintmark[torch]'"
        ) from error
    try:
        click.echo(export_folder(folder, check=check))
    except ModelError as error:
        raise click.ClickException(str(error)) from error
