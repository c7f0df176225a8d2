"""`measurand`: finds the command that was named and turns errors into exit codes.

Commands are imported when they are named, and the client inside them, so that `--help` answers at once. Other packages
add commands through the entry point group `measurand.commands`; the server's `serve` comes that way.
"""

from __future__ import annotations

import importlib
import sys

import click

from measurand.cli.added import added_commands
from measurand.cli.session import Session, common
from measurand.cli.status import Failure, failure_of
from measurand.wire.errors import MeasurandError

__all__ = ["COMMANDS", "Commands", "main"]

COMMANDS = {
    "put": "measurand.cli.putting",
    "get": "measurand.cli.getting",
    "ls": "measurand.cli.looking",
    "show": "measurand.cli.looking",
    "exists": "measurand.cli.looking",
    "find": "measurand.cli.looking",
    "history": "measurand.cli.looking",
    "watch": "measurand.cli.watching",
    "edit": "measurand.cli.changing",
    "rm": "measurand.cli.changing",
    "undelete": "measurand.cli.changing",
    "buffer": "measurand.cli.buffers",
    "catalog": "measurand.cli.catalogs",
    "container": "measurand.cli.containers",
    "operation": "measurand.cli.operations",
    "registry": "measurand.cli.registry",
    "version": "measurand.cli.about",
    "completion": "measurand.cli.about",
}
"""Where each command is; the module has it under the same name. In the order of the help text."""


class Commands(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *sorted(added_commands())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            found = getattr(importlib.import_module(COMMANDS[cmd_name]), cmd_name)
        else:
            added = added_commands().get(cmd_name)
            if added is None:
                return None
            found = added.load()
        assert isinstance(found, click.Command), cmd_name
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            from difflib import get_close_matches

            close = get_close_matches(args[0], self.list_commands(ctx), 1)
            advice = f"did you mean `{close[0]}`?" if close else "see `measurand --help`."
            ctx.fail(f"there is no command `{args[0]}`; {advice}")

    def invoke(self, ctx: click.Context) -> object:
        session = ctx.ensure_object(Session)
        try:
            return super().invoke(ctx)
        except MeasurandError as error:
            raise failure_of(error).told(session.as_json) from error
        except Failure as failure:
            raise failure.told(session.as_json) from failure.__cause__
        except BrokenPipeError:  # whoever read has seen enough; click ends quietly
            raise
        except OSError as error:
            text = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            raise Failure(text).told(session.as_json) from error


@click.command(cls=Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@common
@click.pass_context
def main(context: click.Context) -> None:
    """Keep measurements: stream them in, find them by what was measured, read back the part you need.

    Places are written CATALOG, CATALOG/DATASET or CATALOG/DATASET/files/PATH. The server is that of --url, else of
    MEASURAND_URL, else of client.toml in your settings folder, else localhost:50051.

    \b
    Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 conflict,
    5 permission, 6 unavailable.
    """  # noqa: D301  # click reads the \b
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


if __name__ == "__main__":
    sys.exit(main(prog_name="measurand"))
