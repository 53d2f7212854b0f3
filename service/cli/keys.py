"""`mintmark keys new`: makes an API key and the entry that stores it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click
from pydantic import ValidationError

from service.access.caller import Scope
from service.access.keys import KeyEntry, digest, new_key, to_toml


@click.group()
def keys() -> None:
    """Make API keys."""


@keys.command()
@click.option("--name", required=True, help="Who will use the key; keys of one name are one.")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice([scope.value for scope in Scope]),
    multiple=True,
    required=True,
    help="What the key allows; several times for several.",
)
@click.option("--requests-per-minute", type=click.IntRange(1))
@click.option("--concurrent-requests", type=click.IntRange(1))
@click.option("--queued-seconds", type=click.FloatRange(0, min_open=True))
@click.option("--days", type=click.IntRange(1), help="After how many days the key ends.")
def new(
    name: str,
    scopes: tuple[str, ...],
    requests_per_minute: int | None,
    concurrent_requests: int | None,
    queued_seconds: float | None,
    days: int | None,
) -> None:
    """Print a new key, once, and the entry for the keys file, which holds only its digest."""
    key = new_key()
    expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
    try:
        entry = KeyEntry(
            name=name,
            sha256=digest(key),
            scopes=frozenset(map(Scope, scopes)),
            requests_per_minute=requests_per_minute,
            concurrent_requests=concurrent_requests,
            queued_seconds=queued_seconds,
            expires_at=expires_at and expires_at.replace(microsecond=0),
        )
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        raise click.ClickException(f"{problem['loc'][0]}: {problem['msg']}.") from None
    # Apart, so that `mintmark keys new … >> keys.toml` does not write the key into the file.
    click.echo(f"The key, shown only now: {key}", err=True)
    click.echo(to_toml(entry))
