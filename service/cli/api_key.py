"""The `--api-key` option of the commands that call a service."""

from __future__ import annotations

import click

# Not MINTMARK_…: those names are the service's own settings, and an unknown one stops its start.
api_key_option = click.option(
    "--api-key",
    envvar="MM_API_KEY",
    show_envvar=True,
    help="The key, if the service asks for one. On a command line others can read it.",
)
