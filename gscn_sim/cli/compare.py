"""``gscn-sim compare``: two designs on a trace, or two saved runs, by layer and cause."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gscn_sim.cli import completion
from gscn_sim.cli.options import (
    DesignOptions,
    batch_option,
    cache_option,
    command_line,
    phase_option,
    quiet_option,
    read_phases,
)
from gscn_sim.cli.output import Output, output_options
from workloads import GscnError

if TYPE_CHECKING:
    from gscn_sim.config import Config
    from gscn_sim.report.differences import Difference
    from gscn_sim.report.sources import RunSource


@click.command()
@click.argument("a", metavar="A", shell_complete=completion.presets)
@click.argument("b", metavar="B", shell_complete=completion.presets)
@click.argument("path", metavar="[TRACE]", required=False, shell_complete=completion.files)
@click.option(
    "--iso",
    metavar="QUANTITY[=VALUE]",
    multiple=True,
    shell_complete=completion.quantities,
    help="Bring both designs to a size first: area=MM2 or multipliers=N by the number of PEs, "
    "bandwidth_gbs=GBPS by that of DRAM channels, as near as they come from below. Without a "
    "value: B to the size of A.",
)
@phase_option
@batch_option
@output_options
@cache_option
@quiet_option
def compare(
    a: str,
    b: str,
    path: str | None,
    iso: tuple[str, ...],
    phases: str | None,
    batch_size: int | None,
    out: Output,
    cache: str | None,
    quiet: bool,
) -> None:
    """Say how B differs from A: time by layer and phase, its causes, the configuration.

    A and B are designs (a preset's name or a TOML file), which are simulated on TRACE, or the JSON
    files of saved runs (gscn-sim run -o RUN.json).
    """
    from gscn_sim.report.differences import Difference
    from gscn_sim.report.sources import read_run

    if iso and b.lower().endswith(".json"):
        raise GscnError(f"{b}: a saved run keeps its size; --iso takes designs")
    if a.lower().endswith(".json") and any("=" in text for text in iso):
        raise GscnError(f"{a}: a saved run keeps its size; --iso without a value brings B to it")
    saved = {name: read_run(Path(name)) for name in (a, b) if name.lower().endswith(".json")}
    designs = {name: DesignOptions(source=name).read() for name in (a, b) if name not in saved}
    if iso:
        designs = at_equal_size(designs, iso, a, saved[a].config if a in saved else None)
    if designs and path is None:
        raise GscnError(f"name a TRACE to simulate {' and '.join(designs)} on")
    if not designs and (path or phases or batch_size or iso):
        raise GscnError("two saved runs take neither TRACE nor --phase nor --batch nor --iso")
    runs = saved | (simulated(designs, path, phases, batch_size, cache, quiet) if path else {})
    difference = Difference(a=runs[a], b=runs[b])
    out.write(difference.layers, document_of(difference), lambda: show(difference, a, b))


def at_equal_size(
    designs: Mapping[str, Config], texts: Sequence[str], a: str, saved: Mapping[str, Any] | None
) -> dict[str, Config]:
    """The designs at the sizes that ``--iso`` asks for; without a value, at that of A.

    ``saved`` is the configuration of A where it is a saved run, which stays as it ran.

    Raises:
        GscnError: no such quantity, or a design cannot have it.
    """
    from gscn_sim.config import load_config
    from gscn_sim.results.sizes import at_size, parse_iso, scaling_words, size_of

    first = designs.get(a)
    if saved is not None:
        first = load_config("gscn", {key: v for key, v in saved.items() if key != "name"})
    assert first is not None
    isos = parse_iso(t if "=" in t else f"{t}={size_of(first, t)!r}" for t in texts)
    found = {}
    for name, config in designs.items():
        found[name] = at_size(config, isos)
        if found[name] != config:
            click.echo(scaling_words(config, found[name], isos), err=True)
    return found


def simulated(
    designs: dict[str, Config],
    path: str,
    phases: str | None,
    batch_size: int | None,
    cache: str | None,
    quiet: bool,
) -> dict[str, RunSource]:
    """Each design's run on the trace.

    Raises:
        GscnError: the trace cannot be read, or no layer has what a phase needs.
    """
    import workloads
    from gscn_sim.api import simulate
    from gscn_sim.cli.progress import progress
    from gscn_sim.compare.document import run_document
    from gscn_sim.report.sources import source_of_run
    from gscn_sim.run.memo import open_cache

    trace = workloads.load(path)
    chosen, results = read_phases(phases, trace), open_cache(cache)
    found = {}
    for name, config in designs.items():
        with progress(quiet) as update:
            run = simulate(
                trace,
                config,
                phases=chosen,
                batch_size=batch_size,
                gpu=None,
                progress=update,
                cache=results,
                recall=True,
            )
        if not run.records:
            raise GscnError(f"{path}: no layer has the operands of {', '.join(chosen)}")
        found[name] = source_of_run(run_document(run, command=command_line()))
    return found


def document_of(difference: Difference) -> dict[str, Any]:
    """All of a comparison, ready for JSON."""
    from gscn_sim.files import records

    tables = ("layers", "phases", "causes", "keys", "sizes")
    return {
        **{name: records(getattr(difference, name)) for name in tables},
        "cautions": difference.cautions,
        "a": {"config": difference.a.config, "provenance": difference.a.provenance},
        "b": {"config": difference.b.config, "provenance": difference.b.provenance},
        "provenance": {"command": command_line()},
    }


def show(difference: Difference, a: str, b: str) -> None:
    """Print a comparison on stdout."""
    from gscn_sim.cli.show import WIDTH, number, show_table, text
    from gscn_sim.results.words import time_unit

    layers, phases = difference.layers, difference.phases
    unit, scale = time_unit(float(layers[["a_seconds", "b_seconds"]].to_numpy().max()))
    times = [
        number("a_seconds", f"A {unit}", scale),
        number("b_seconds", f"B {unit}", scale),
    ]
    change = number("difference_seconds", f"B-A {unit}", scale)
    ratio = number("speedup", "A/B", 1, "x")
    click.echo(f"A: {a}\nB: {b}\n")
    largest = ("largest cause", lambda row: _words(row["cause"]), "fold")
    part = ("its " + unit, lambda row: _part(row, scale), "right")
    show_table(
        f"Time of {difference.a.layers['network'].iloc[0]} by layer and phase",
        [text("layer", "fold"), text("phase"), *times, change, ratio, largest, part],
        layers.to_dict(orient="records"),  # type: ignore[arg-type]
    )
    most = float(phases[["a_dram_bytes", "b_dram_bytes"]].to_numpy().max())
    size, factor = ("MB", 1e-6) if most >= 1e6 else ("kB", 1e-3)
    show_table(
        "All layers",
        [
            text("phase"),
            *times,
            ratio,
            number("a_energy_j", "A energy mJ", 1e3),
            number("b_energy_j", "B energy mJ", 1e3),
            number("a_dram_bytes", f"A DRAM {size}", factor),
            number("b_dram_bytes", f"B DRAM {size}", factor),
        ],
        phases.to_dict(orient="records"),  # type: ignore[arg-type]
    )
    names = [name for name in phases["phase"] if name != "all"]
    each = [number(name, f"B-A {name}", scale) for name in names if len(names) > 1]
    show_table(
        f"Where the time went, {unit}: each multiplier slot's share of it, by cause",
        [("cause", lambda row: _words(row["cause"]), "left"), *times, change, *each],
        difference.causes.to_dict(orient="records"),  # type: ignore[arg-type]
    )
    _show_design(difference)
    for caution in difference.cautions:
        click.echo(textwrap.fill(f"mind: {caution}", WIDTH))


def _show_design(difference: Difference) -> None:
    from gscn_sim.cli.show import show_table, text

    if difference.keys.empty:
        click.echo("The same configuration.")
        return
    rows: Sequence[Any] = difference.keys.to_dict(orient="records")
    show_table(
        "Configuration keys that differ",
        [
            text("key"),
            ("A", lambda row: row["a"], "fold"),
            ("B", lambda row: row["b"], "fold"),
        ],
        rows,
    )


def _words(cause: str) -> str:
    return cause.replace("_", " ") or "-"


def _part(row: Any, scale: float) -> str:
    from gscn_sim.files import digits

    return digits(row[f"{row['cause']}_seconds"], scale) if row["cause"] else "-"
