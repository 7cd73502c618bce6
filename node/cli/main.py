"""The `kiteline` command, put together."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from node.cli import (
    asking,
    auditing,
    certifying,
    chain,
    keeping,
    keys,
    mirroring,
    offering,
    operating,
    proving,
    purging,
    session,
)

app = typer.Typer(
    name="kiteline",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Share data between departments under grants that everyone can check. Exit codes: 0 done, 1 refused, "
    "2 wrong usage, 3 unreachable, 4 something does not hold, 70 a defect.",
    pretty_exceptions_enable=False,
)
OPERATE, OFFER, ASK, PROVE, FIND = "Operate", "Offer", "Ask", "Prove", "Find"
app.command(rich_help_panel=OPERATE, epilog=operating.init_epilog)(operating.init)
app.command(rich_help_panel=OPERATE, epilog=operating.serve_epilog)(operating.serve)
app.command(rich_help_panel=OPERATE, epilog="Example: kiteline status --json")(operating.status)
app.command(rich_help_panel=OPERATE, epilog="Example: kiteline engines")(operating.engines)
app.add_typer(chain.app, name="chain", rich_help_panel=OPERATE)
app.add_typer(keys.app, name="keys", rich_help_panel=OPERATE)
app.add_typer(certifying.app, name="ca", rich_help_panel=OPERATE)
app.command(rich_help_panel=OFFER, epilog=offering.publish_epilog)(offering.publish)
app.command(rich_help_panel=OFFER, epilog="Example: kiteline grants; kiteline grants 9b02c4e1")(offering.grants)
app.command(rich_help_panel=OFFER, epilog="Example: kiteline decide 9b02c4e1 --approve")(offering.decide)
app.command(rich_help_panel=OFFER, epilog="Example: kiteline revoke 9b02c4e1 --reason 'purpose changed'")(
    offering.revoke
)
app.command(rich_help_panel=OFFER, epilog="Example: kiteline explain 9b02c4e1")(offering.explain)
app.command(rich_help_panel=OFFER, epilog=purging.purge_epilog)(purging.purge)
app.command(rich_help_panel=ASK, epilog="Example: kiteline catalogue villages --json")(offering.catalogue)
app.command(rich_help_panel=ASK, epilog=asking.request_epilog)(asking.request)
app.command(rich_help_panel=ASK, epilog=asking.fetch_epilog)(asking.fetch)
app.command(rich_help_panel=ASK, epilog=asking.export_epilog)(asking.export)
app.command(rich_help_panel=ASK, epilog=asking.query_epilog)(asking.query)
app.command(rich_help_panel=PROVE, epilog=proving.trail_epilog)(proving.trail)
app.command(rich_help_panel=PROVE, epilog=proving.evidence_epilog)(proving.evidence)
app.command(rich_help_panel=PROVE, epilog=proving.verify_epilog)(proving.verify)
keeping.app.command("mirror", epilog=mirroring.mirror_epilog)(mirroring.mirror)
keeping.app.command("collect", rich_help_panel=FIND, epilog=auditing.collect_epilog)(auditing.collect)
keeping.app.command("range", rich_help_panel=FIND, epilog=auditing.range_epilog)(auditing.range_file)
keeping.app.command("report", rich_help_panel=FIND, epilog=auditing.report_epilog)(auditing.report)
app.add_typer(keeping.app, name="audit", rich_help_panel=PROVE)


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - Typer passes the flag so
    if wanted:
        typer.echo(f"kiteline {version('kiteline')}")
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Share data between departments under grants that everyone can check."""


def run() -> None:
    """Entry point."""
    session.run(app)


if __name__ == "__main__":
    run()
