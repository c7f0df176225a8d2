"""`measurand doctor`. Everything else is imported when it runs, so that `--help` answers at once."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from measurand.server.options import settings_of, stores_options

if TYPE_CHECKING:
    from measurand.server.doctor.findings import Finding, Status

__all__ = ["command"]

MiB = 1 << 20
CHECK_WIDTH = 23
COLOURS: dict[Status, str] = {"ok": "green", "warning": "yellow", "error": "red"}


@click.command(name="doctor")
@stores_options
@click.option("--deep", is_flag=True, help="Look at all documents and all blobs, whether they fit each other.")
@click.option(
    "--bytes", "with_bytes", is_flag=True, help="With --deep: read all files and arrays and check their digests."
)
@click.option(
    "--rate", default=100, show_default=True, metavar="MIB", type=click.IntRange(1), help="A second, of --bytes."
)
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON, one object a finding.")
@click.pass_context
def command(
    context: click.Context,
    /,
    *,
    config: Path | None,
    deep: bool,
    with_bytes: bool,
    rate: int,
    as_json: bool,
    **flags: Any,
) -> None:
    """Try out both stores with real operations, and say what is wrong and what to do.

    What it writes it removes again; servers may run meanwhile. Exit codes: 0 nothing is wrong (warnings are of what
    will be), 1 something does not work.
    """
    if with_bytes and not deep:
        raise click.UsageError("--bytes goes with --deep")
    settings = settings_of(flags, config)
    kinds = {"documents": settings.documents_place.kind, "blobs": settings.blobs_place.kind}
    for option, kind in kinds.items():
        if kind == "memory":
            raise click.UsageError(f"--{option} memory: ends with its process, so there is nothing to look at")
    import asyncio
    import logging

    from measurand.server.doctor.deep import Progress
    from measurand.server.doctor.examination import examine
    from measurand.server.doctor.findings import Report

    logging.getLogger("measurand").addHandler(logging.NullHandler())  # the findings say it
    as_json = as_json or bool(getattr(context.obj, "as_json", False))  # before the name of the command
    progress = Progress.for_people(as_json=as_json)

    def tell(finding: Finding) -> None:
        progress.clear()
        click.echo(json.dumps(asdict(finding), ensure_ascii=False) if as_json else line_of(finding))

    report = Report(tell)
    bytes_per_second = float(rate * MiB) if with_bytes else None
    asyncio.run(examine(report, settings, progress, deep=deep, bytes_per_second=bytes_per_second))
    if not as_json:
        click.echo(
            ", ".join(f"{count} {word}{'s' * (count != 1)}" for word, count in report.counts.items() if word != "ok")
        )
    if report.counts["error"]:
        context.exit(1)


def line_of(finding: Finding) -> str:
    """Return a finding as one line."""
    status = click.style(f"{finding.status:<8}", fg=COLOURS[finding.status])
    text = " ".join((finding.message + (f"; {finding.advice}" if finding.advice else "")).split())
    return f"{status} {finding.check:<{CHECK_WIDTH}}  {text}"
