"""`mintmark serve`: become the BentoML process that runs the service."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from service.access.control import check_access
from service.config import child_environment, load_settings, setting_names
from service.preflight import check_settings

if TYPE_CHECKING:
    from service.config import Settings

_SERVICE = "service.bento:ImageGeneration"
_CODE_ROOT = Path(__file__).parents[2]


@click.command()
@click.option("--host", help="Address to listen on; overrides MINTMARK_SERVER__HOST.")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="HTTP port; overrides MINTMARK_SERVER__HTTP_PORT.",
)
def serve(host: str | None, port: int | None) -> None:
    """Start the service in the foreground. Settings come from MINTMARK_… variables."""
    settings = load_settings()
    chosen_host = host if host is not None else settings.server.host
    chosen_port = port if port is not None else settings.server.http_port
    server = settings.server.model_copy(update={"host": chosen_host, "http_port": chosen_port})
    check_access(settings.access, [chosen_host])
    check_settings(settings.model_copy(update={"server": server}))
    overrides = {
        "MINTMARK_SERVER__HOST": chosen_host,
        "MINTMARK_SERVER__HTTP_PORT": str(chosen_port),
        # A worker that ends takes the parent with it, so that whoever supervises us notices;
        # BentoML would start another one, ten seconds later and for ever.
        "BENTOML_CONTAINERIZED": "true",
        **absolute_paths(settings),
    }
    command = [sys.executable, "-m", "bentoml", "serve", _SERVICE]
    command += ["--host", chosen_host, "--port", str(chosen_port)]
    command += ["--working-dir", str(_CODE_ROOT)]
    environment = child_environment(settings, **overrides)
    sys.stdout.flush()
    os.execve(sys.executable, command, environment)  # noqa: S606 - no shell, our own arguments


def absolute_paths(settings: Settings) -> dict[str, str]:
    """Return every setting that names files by relative paths, by variable, as absolute ones.

    BentoML changes to the folder of the code; relative paths mean the caller's folder.
    """
    found = {}
    for section, field, variable in setting_names():
        value = getattr(getattr(settings, section), field)
        # A model may be a hub id, which looks like a relative path; a folder exists.
        is_folder = isinstance(value, str) and variable.endswith("_PATH") and Path(value).exists()
        if isinstance(value, Path) or is_folder:
            found[variable] = str(Path(value).absolute())
    if settings.model.also:
        also = [_absolute_folder(place) for place in settings.model.also]
        found["MINTMARK_MODEL__ALSO"] = json.dumps(also)
    return found


def _absolute_folder(place: str) -> str:
    """Return a folder's absolute path; a hub id as it is."""
    return str(Path(place).absolute()) if Path(place).exists() else place
