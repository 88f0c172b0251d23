"""``gscn-sim reproduce``: published claims beside our own figures."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import click

from gscn_sim.cli.options import cache_option, quiet_option

FAMILIES = ("resprop", "gscn", "sensitivity", "scnn", "ant")


@click.command()
@click.option(
    "-o", "--output", "folder", metavar="DIR", default="results/reference", show_default=True
)
@click.option(
    "--only",
    "families",
    type=click.Choice(FAMILIES),
    multiple=True,
    help="Families of claims. May be given again. Default: all.",
)
@click.option("--traces", metavar="DIR", help="Recorded traces. Default: workloads/data.")
@click.option(
    "--accuracy",
    metavar="FILE",
    default="results/reference/accuracy.csv",
    show_default=True,
    help="Table of the accuracy study (`resprop-train study`); nothing is trained here.",
)
@cache_option
@quiet_option
def reproduce(
    folder: str,
    families: tuple[str, ...],
    traces: str | None,
    accuracy: str,
    cache: str | None,
    quiet: bool,
) -> None:
    """Put our figure beside each published claim, from recorded traces.

    Writes reproduction.md, .csv, .json, .svg and .png to DIR after each family; those not asked for
    keep the rows they have there. Kernel results are kept in the cache: an interrupted run goes on
    quickly where it was.
    """
    from gscn_sim.claims import Study
    from gscn_sim.claims import reproduce as make_rows
    from gscn_sim.claims.reproduce import write
    from gscn_sim.cli.progress import progress
    from gscn_sim.files import make_folder
    from gscn_sim.results.provenance import code_digest, versions
    from gscn_sim.run.memo import open_cache

    make_folder(folder)
    place = Path(traces) if traces else Path(str(resources.files("workloads.data")))
    provenance = {"command": "gscn-sim reproduce", "code": code_digest(), "versions": versions()}
    wanted = families or FAMILIES
    files: list[Path] = []
    done = 0
    with progress(quiet) as update:

        def begin(what: str) -> None:
            if update:
                update(done, len(set(wanted)), what)

        def note(what: str) -> None:
            if not quiet:
                click.echo(what, err=True)

        study = Study(
            traces=place,
            accuracy=Path(accuracy),
            cache=open_cache(cache),
            begin=begin,
            note=note,
        )
        for rows in make_rows(study, wanted):
            files = write(rows, folder, provenance=provenance)
            done += 1
    click.echo(files[0].read_text(encoding="utf-8"))
    if not quiet:
        click.echo("Written: " + ", ".join(map(str, files)), err=True)
