"""`version` and `completion`: about the command itself."""

from __future__ import annotations

import platform

import click

from measurand.cli.output import print_facts
from measurand.cli.session import Session, common, pass_session

__all__ = ["completion", "version"]


@click.command()
@click.option("--server", is_flag=True, help="Also ask the server what it is.")
@common
@pass_session
def version(session: Session, *, server: bool) -> None:
    """Show the release of this command, and of the server."""
    from measurand.client._version import __version__

    facts: dict[str, object] = {"measurand": __version__, "python": platform.python_version()}
    if server:
        with session.connect() as client:
            facts["server"] = client.server()
    print_facts(session, facts)


@click.command(short_help="Print what makes a shell complete.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes a shell complete commands, catalogs and datasets.

    \b
    bash:  measurand completion bash > ~/.local/share/bash-completion/completions/measurand
    zsh:   measurand completion zsh > a file _measurand in a folder of your fpath
    fish:  measurand completion fish > ~/.config/fish/completions/measurand.fish
    """  # noqa: D301  # click reads the \b
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None, shell
    root = context.find_root().command
    click.echo(kind(root, {}, "measurand", "_MEASURAND_COMPLETE").source())
