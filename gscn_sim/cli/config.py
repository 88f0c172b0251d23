"""``gscn-sim config``: the designs that ship, and the full configuration of one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from gscn_sim.cli import completion
from gscn_sim.cli.options import read_assignments
from workloads.command import OneLineErrors

if TYPE_CHECKING:
    from gscn_sim.config import Config


@click.group(cls=OneLineErrors)
def config() -> None:
    """List designs and show their full configuration."""


@config.command("list")
def list_() -> None:
    """List the presets with their main figures."""
    from gscn_sim.cli.show import number, show_table, text
    from gscn_sim.config import load_config, preset_names

    rows = []
    for name in preset_names():
        design = load_config(name)
        rows.append(
            {
                "preset": name,
                "pes": design.num_pes,
                "multipliers": design.num_pes * design.multipliers,
                "clock": design.array.clock_ghz,
                "on_chip": design.on_chip_bytes,
                "dram": design.dram.kind,
                "gbps": float("nan") if design.dram.kind == "ideal" else design.dram.peak_gbps,
                "dgrad": design.dataflow.dgrad,
                "wgrad": design.dataflow.wgrad,
            }
        )
    columns = [
        text("preset"),
        number("pes", "PEs"),
        number("multipliers", "multipliers"),
        number("clock", "clock GHz"),
        number("on_chip", "on chip MB", 1e-6),
        text("dram"),
        number("gbps", "DRAM GB/s"),
        text("dgrad"),
        text("wgrad"),
    ]
    show_table("Presets", columns, rows)


@config.command()
@click.argument("source", metavar="NAME|FILE", default="gscn", shell_complete=completion.presets)
@click.option(
    "--set",
    "assignments",
    metavar="KEY=VALUE",
    multiple=True,
    shell_complete=completion.assignments,
    help="Change one key.",
)
@click.option(
    "--keys", is_flag=True, help="Explain each key: its value, what is allowed, what it means."
)
def show(source: str, assignments: tuple[str, ...], keys: bool) -> None:
    """Print a design's full configuration as TOML."""
    from gscn_sim.config import dump_toml, load_config

    design = load_config(source, read_assignments(assignments))
    if not keys:
        click.echo(dump_toml(design), nl=False)
        return
    from gscn_sim.cli.show import show_table, text

    columns = [text("key"), text("value"), text("allowed", "fold"), text("meaning", "fold")]
    show_table(f"Keys of {design.name}", columns, explained_keys(design))


def explained_keys(design: Config) -> list[dict[str, str]]:
    """Every key of a design with its value, what is allowed, and what it means."""
    rows = []
    for section in dataclasses.fields(design):
        values = getattr(design, section.name)
        if not dataclasses.is_dataclass(values):
            continue
        for field in dataclasses.fields(values):
            value = getattr(values, field.name)
            rows.append(
                {
                    "key": f"{section.name}.{field.name}",
                    "value": str(value).lower() if isinstance(value, bool) else str(value),
                    "allowed": _allowed(field.metadata),
                    "meaning": field.metadata["help"],
                }
            )
    return rows


def _allowed(metadata: Mapping[str, Any]) -> str:
    from gscn_sim.config.fields import allowed_values

    if "allowed" in metadata:
        return " ".join(allowed_values(metadata))
    if "minimum" not in metadata:
        return "true false"
    return f"{metadata['minimum']:,} to {metadata['maximum']:,}"
