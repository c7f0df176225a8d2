"""`measurand serve`. Everything else is imported when it runs, so that `--help` answers at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from measurand.server.options import settings_of, stores_options

__all__ = ["command"]


@click.command(name="serve")
@stores_options
@click.option("--listen", metavar="HOST:PORT", help="Where to take calls [127.0.0.1:50051]; port 0: any free one.")
@click.option("--http", metavar="HOST:PORT|off", help="Where to show metrics [127.0.0.1:8051].")
@click.option("--workers", metavar="N", help="So many processes share the port [1].")
@click.option("--containers", metavar="N", help="Keep everything in so many containers of its own, to try them out.")
@click.option(
    "--insecure", is_flag=True, default=None, help="Listen where others can reach it, without asking who they are."
)
@click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error [info].")
@click.option("--private", is_flag=True, default=None, hidden=True, help="End with the last client.")
@click.option("--as-worker", is_flag=True, hidden=True, help="One of several processes, started by their parent.")
def command(*, config: Path | None, as_worker: bool, **flags: Any) -> None:
    """Start a server. Without options it keeps everything in your own data folder and listens to this machine only."""
    from measurand.server.memory import share_one_heap
    from measurand.wire.malloc import tune

    tune()  # before gRPC is imported
    share_one_heap()
    settings = settings_of(flags, config)
    import asyncio

    from measurand.server.config import ConfigError
    from measurand.server.logs import set_up_logs

    set_up_logs(settings.log_level)
    try:
        if settings.workers > 1 and not as_worker:
            from measurand.server.workers import run_workers

            sys.exit(asyncio.run(run_workers(settings, config)))
        from measurand.server.process import run

        asyncio.run(run(settings, is_worker=as_worker))
    except ConfigError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    command()
