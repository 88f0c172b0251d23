"""``gscn-sim limits``: what a run would take without each limit of the machine."""

from __future__ import annotations

import click

from gscn_sim.cli import completion
from gscn_sim.cli.options import (
    OUTPUT_FILE,
    batch_option,
    cache_option,
    command_line,
    config_options,
    phase_option,
    read_config,
    read_phases,
)

FORMATS = ("table", "csv", "json")


@click.command()
@click.argument("path", metavar="TRACE", shell_complete=completion.files)
@config_options
@phase_option
@batch_option
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option(
    "-o",
    "--output",
    metavar="PATH",
    type=OUTPUT_FILE,
    help="Write the table (.csv, .parquet, .json).",
)
@cache_option
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def limits(
    path: str,
    source: str,
    assignments: tuple[str, ...],
    phases: str | None,
    batch_size: int | None,
    form: str,
    output: str | None,
    cache: str | None,
    quiet: bool,
) -> None:
    """Simulate TRACE again with one limit of the design lifted at a time.

    What a limit costs is the time that lifting it saves. Limits hide each other: the savings do not
    add up, and with the first one gone the next may cost as much. A second table splits the time in
    which PEs wait for operands by cause, with every schedule as it is.
    """
    config = read_config(source, assignments)

    import workloads
    from gscn_sim.cli.progress import progress
    from gscn_sim.cli.show import number, show_table, text
    from gscn_sim.files import csv_text, records, table_suffix, to_json, write_table
    from gscn_sim.results.provenance import config_record, provenance
    from gscn_sim.results.words import time_unit
    from gscn_sim.run.limits import limits as lifted_one_by_one
    from gscn_sim.run.memo import open_cache
    from gscn_sim.run.waits import operand_waits

    if output is not None:
        table_suffix(output)
    trace = workloads.load(path)
    chosen, caller = read_phases(phases, trace), open_cache(cache)
    with progress(quiet) as update:
        table = lifted_one_by_one(
            trace, config, chosen, batch_size=batch_size, caller=caller, progress=update
        )
    waits = operand_waits(trace, config, chosen, batch_size=batch_size, caller=caller)
    facts = {**trace.metadata(), "digest": trace.digest}
    document = {
        "limits": records(table),
        "operand_waits": records(waits),
        "config": config_record(config),
        "provenance": provenance(facts, gpu=None, command=command_line()),
    }
    if output is not None:
        write_table(output, table, document)
    if form == "json":
        click.echo(to_json(document))
    elif form == "csv":
        click.echo(csv_text(table), nl=False)
    else:
        unit, scale = time_unit(float(table["seconds"].max()))
        show_table(
            f"{trace.network} on {config.name} with one limit lifted at a time",
            [
                text("lifted"),
                number("seconds", f"time {unit}", scale),
                number("saved_seconds", f"saved {unit}", scale),
                number("saved_share", "saved %", 100),
                number("operand_wait_share", "operand wait %", 100),
                text("means", "fold"),
            ],
            table.to_dict(orient="records"),  # type: ignore[arg-type]
        )
        show_table(
            "Waiting for operands by cause, % of all PEs' time",
            [text("cause"), number("wait_share", "waiting %", 100), text("means", "fold")],
            waits.to_dict(orient="records"),  # type: ignore[arg-type]
        )
