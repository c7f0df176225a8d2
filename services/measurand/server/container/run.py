"""`measurand container serve`. Everything else is imported when it runs, so that `--help` answers at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

__all__ = ["command"]


@click.command(name="serve")
@click.option(
    "--of",
    "servers",
    metavar="URL",
    multiple=True,
    required=True,
    help="A server, as grpc://HOST:PORT; may be repeated.",
)
@click.option("--data", metavar="DIR", type=click.Path(path_type=Path), required=True, help="The folder for its blobs.")
@click.option(
    "--listen", metavar="HOST:PORT", default="127.0.0.1:0", help="Where to take calls [127.0.0.1, any free port]."
)
@click.option("--advertise", metavar="HOST:PORT", help="Where servers reach it [as it listens]; port 0: the same.")
@click.option("--name", metavar="NAME", default="", help="What it is called [as the folder].")
@click.option("--title", default="", help="Free text.")
@click.option("--zone", metavar="ZONE", default="", help="A site, room or rack: parts of a blob go to different ones.")
@click.option("--label", "labels", metavar="K=V", multiple=True, help="A word that a storage policy can ask for.")
@click.option("--weight", metavar="W", type=float, default=1.0, help="How much more than others it is used [1].")
@click.option("--max-bytes", metavar="N", default="0", help="Fill it up to this and no more, such as 500GiB.")
@click.option("--http", metavar="HOST:PORT|off", default="off", help="Where to show metrics [off].")
@click.option("--insecure", is_flag=True, help="Listen where others can reach it, without asking who they are.")
@click.option(
    "--log-level", metavar="LEVEL", type=click.Choice(("debug", "info", "warning", "error")), default="info",
    help="debug, info, warning or error [info].",
)  # fmt: skip
def command(*, log_level: str, **given: Any) -> None:
    """Serve a folder as a container, on another host than the servers or on theirs.

    It registers itself, tells the servers that it is alive, and comes back by itself after any of them was away.

    \b
    measurand container serve --of grpc://server:50051 --data /mnt/nas --name nas --zone hall-3
    """  # noqa: D301  # click reads the \b
    from measurand.server.memory import share_one_heap
    from measurand.wire.malloc import tune

    tune()  # before gRPC is imported
    share_one_heap()
    import asyncio

    from measurand.server.config import ConfigError
    from measurand.server.container.process import run
    from measurand.server.container.settings import settings_of
    from measurand.server.logs import set_up_logs

    try:
        settings = settings_of(given)
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    set_up_logs(log_level)
    try:
        asyncio.run(run(settings))
    except ConfigError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    command()
