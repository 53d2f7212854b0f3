"""`mintmark ledger`: looks after the database of the ledger."""

from __future__ import annotations

import click

from service.config import load_settings
from service.database.schema import HEAD
from service.database.upkeep import ledger_status, migrate_ledger


@click.group()
def ledger() -> None:
    """Look after the ledger's database, MINTMARK_LEDGER__URL."""


@ledger.command()
@click.pass_context
def status(context: click.Context) -> None:
    """Say where the ledger is and whether this release can use it as it is: exit code 0 or 1."""
    settings = load_settings()
    found = ledger_status(settings.ledger, settings.server.state_dir)
    click.echo(f"database  {found.shown}")
    click.echo(f"revision  {found.revision or 'none'} (this release: {HEAD})")
    click.echo(f"outputs   {found.outputs}")
    if not found.is_current:
        click.echo("It is made or brought up to date by: mintmark ledger migrate")
        context.exit(1)


@ledger.command()
def migrate() -> None:
    """Make the ledger's tables or bring them up to this release. Changes nothing if they are."""
    settings = load_settings()
    before, after = migrate_ledger(settings.ledger, settings.server.state_dir)
    if before == after:
        click.echo(f"The ledger has revision {after} already.")
    else:
        click.echo(f"The ledger went from revision {before or 'none'} to {after}.")
