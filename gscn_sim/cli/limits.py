"""``gscn-sim limits``: what a run would take without each limit of the machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gscn_sim.cli import completion
from gscn_sim.cli.options import (
    DesignOptions,
    batch_option,
    cache_option,
    command_line,
    config_options,
    phase_option,
    quiet_option,
    read_phases,
)
from gscn_sim.cli.output import Output, output_options

if TYPE_CHECKING:
    import pandas as pd

    from gscn_sim.config import Config
    from workloads import Trace


@click.command()
@click.argument("path", metavar="TRACE", shell_complete=completion.files)
@config_options
@phase_option
@batch_option
@output_options
@cache_option
@quiet_option
def limits(
    path: str,
    design: DesignOptions,
    phases: str | None,
    batch_size: int | None,
    out: Output,
    cache: str | None,
    quiet: bool,
) -> None:
    """Simulate TRACE again with one limit of the design lifted at a time.

    What a limit costs is the time that lifting it saves. Limits hide each other: the savings do not
    add up, and with the first one gone the next may cost as much. A second table splits the time in
    which PEs wait for operands by cause, with every schedule as it is.
    """
    config = design.read()

    import workloads
    from gscn_sim.cli.progress import progress
    from gscn_sim.files import records
    from gscn_sim.results.provenance import config_record, provenance
    from gscn_sim.run.limits import limits as lifted_one_by_one
    from gscn_sim.run.memo import open_cache
    from gscn_sim.run.waits import operand_waits

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
    out.write(table, document, lambda: show(trace, config, table, waits))


def show(trace: Trace, config: Config, table: pd.DataFrame, waits: pd.DataFrame) -> None:
    """Print what each limit costs, and the causes of waiting, on stdout."""
    from gscn_sim.cli.show import number, show_table, text
    from gscn_sim.results.words import time_unit

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
