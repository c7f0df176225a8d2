"""Commands that other packages bring through entry points; the server's are among them where it is installed."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

import click

__all__ = ["GROUP", "OpenGroup", "added_commands"]

GROUP = "measurand.commands"


def added_commands(group: str = GROUP) -> dict[str, EntryPoint]:
    """Return the commands of an entry point group by their names."""
    return {entry.name: entry for entry in entry_points(group=group)}


class OpenGroup(click.Group):
    """A group whose commands are its own, and those of the entry points `measurand.commands.` with its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *added_commands(f"{GROUP}.{self.name}")})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        added = added_commands(f"{GROUP}.{self.name}").get(cmd_name)
        if added is None:
            return None
        found = added.load()
        assert isinstance(found, click.Command), cmd_name
        return found
