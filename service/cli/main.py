"""`mintmark`: the group of commands, each imported only when it runs."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from service.errors import ConfigurationError, ServiceError
from service.version import installed_version

_COMMANDS = {
    "export": "Write the ONNX graphs of a model folder, so that it can be served without torch.",
    "generate": "Draw a picture with a running service.",
    "keys": "Make API keys.",
    "ledger": "Look after the ledger's database.",
    "plan": "Say how many replicas a load needs, from a measured profile.",
    "profile": "Measure what a model takes on this machine, for plan.",
    "serve": "Start the service.",
    "verify": "Say where pictures come from.",
}


class LazyGroup(click.Group):
    """A group that imports a command's module when it is used, so that each starts fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return every command's name."""
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return one command, or None if there is none of that name."""
        if cmd_name not in _COMMANDS:
            return None
        command = getattr(import_module(f"service.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of commands from the table above, importing none of them."""
        with formatter.section("Commands"):
            formatter.write_dl(sorted(_COMMANDS.items()))


def _print_version(context: click.Context, _: click.Parameter, is_wanted: bool) -> None:
    if is_wanted:
        click.echo(f"mintmark {installed_version()}")
        context.exit()


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
def cli() -> None:
    """Mintmark: generated pictures that are signed, watermarked and verifiable."""


def main() -> None:
    """Run the command line; errors we foresee are one message on stderr and exit code 1."""
    try:
        cli()
    except (ConfigurationError, ServiceError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
