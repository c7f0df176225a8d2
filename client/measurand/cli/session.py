"""What every command has: the options that all share, the connection, and the two ways to answer."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from measurand.client import Client

__all__ = ["Session", "common", "pass_session"]

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(slots=True)
class Session:
    """The shared options of one command.

    Parameters
    ----------
    url : str, optional
        The server, as `Client` takes it.
    as_json : bool
        Answer in JSON.
    is_quiet : bool
        No progress, no remarks.
    """

    url: str | None = None
    as_json: bool = False
    is_quiet: bool = False

    @property
    def shows_progress(self) -> bool:
        """Whether somebody watches."""
        return not self.is_quiet and not self.as_json and sys.stderr.isatty()

    @contextmanager
    def connect(self, timeout: float | None = None) -> Iterator[Client]:
        """Yield a client, which connects with its first call."""
        from measurand.wire.malloc import tune

        tune()  # before gRPC is imported
        from measurand.client import Client

        with Client(self.url, timeout=timeout) as client:
            yield client

    def remark(self, text: str) -> None:
        """Say something beside the answer, to a person."""
        if not self.is_quiet and not self.as_json:
            click.echo(text, err=True)


pass_session = click.make_pass_decorator(Session, ensure=True)
"""Hands the session to a command as its first argument."""


def remember(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(context: click.Context, _: click.Parameter, value: Any) -> None:
        session = context.ensure_object(Session)  # that of the outermost command, so that options stand anywhere
        if value:
            setattr(session, name, value)

    return callback


def common(command: Command) -> Command:
    """Add the options that every command has, before and behind its name."""
    command = click.option(
        "-q",
        "--quiet",
        is_flag=True,
        expose_value=False,
        callback=remember("is_quiet"),
        help="No progress, no remarks.",
    )(command)
    command = click.option(
        "--json", is_flag=True, expose_value=False, callback=remember("as_json"), help="Answer in JSON."
    )(command)
    return click.option(
        "--url", metavar="HOST:PORT", expose_value=False, callback=remember("url"), help="The server to talk to."
    )(command)
